#include "src/cli/loading.h"

#include "src/cli/output.h"

namespace respeft::cli {
namespace {

runs::PreprocessingChanges changes(const PreprocessingFlags& flags) {
  const data::Preprocessing given = flags.apply({});
  const auto has = [&](const char* name) { return flags.values.contains(name); };
  runs::PreprocessingChanges changes;
  if (has("mean")) changes.mean = given.mean;
  if (has("std")) changes.std = given.std;
  if (has("interpolation")) changes.interpolation = given.interpolation;
  if (has("resize_mode")) changes.resize_mode = given.resize_mode;
  if (has("resize_size")) changes.resize_size = given.resize_size;
  return changes;
}

}  // namespace

runs::LoadedRun load_model(const ModelFlags& flags, const PreprocessingFlags& preprocessing) {
  runs::LoadOptions options{.run = flags.run,
                            .torchscript = flags.torchscript,
                            .model = flags.model,
                            .weights = flags.weights,
                            .state_dict = flags.state_dict,
                            .adapter = flags.adapter,
                            .pool = flags.pool,
                            .image_size = flags.image_size,
                            .num_classes = flags.num_classes,
                            .any_base = flags.any_base,
                            .method = flags.method.name,
                            .preprocessing = changes(preprocessing)};
  if (!flags.method.name.empty()) options.method_options = flags.method.options();
  auto run = runs::load_run(options);
  for (const auto& line : run.notes) note(line);
  return run;
}

}  // namespace respeft::cli
