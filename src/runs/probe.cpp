#include <respeft/runs/probe.h>

#include <fmt/format.h>

#include <stdexcept>

#include <respeft/data/image/dataset.h>

namespace respeft::runs {
namespace {

data::DatasetOptions opened_as(const LoadedRun& run, const std::string& spec, const ProbeOptions& options) {
  return options.shares.empty() ? run.dataset_options(spec) : data::DatasetOptions{options.shares};
}

}  // namespace

Probe make_probe(const LoadedRun& run, const ProbeOptions& options) {
  const std::string& spec = options.data.empty() ? run.data : options.data;
  const auto split = data::split_from_name(options.split);
  if (spec.empty()) return random_probe(*run.model, options.images);
  try {
    const auto dataset = data::open_dataset(spec, split, opened_as(run, spec, options));
    check_classes(run, *dataset);
    return image_probe(dataset, run.preprocessing, options.images, options.workers);
  } catch (const std::runtime_error& error) {
    if (!options.data.empty()) throw;
    if (options.note) options.note(fmt::format("the run's data cannot be read, so random pixels are compared: {}", error.what()));
    return random_probe(*run.model, options.images);
  }
}

at::Tensor calibration_images(const LoadedRun& run, const ProbeOptions& options) {
  if (options.images < 1) throw std::invalid_argument(fmt::format("{} calibration images: must be at least 1", options.images));
  const std::string& spec = options.data.empty() ? run.data : options.data;
  if (spec.empty()) {
    throw std::invalid_argument(
        "the shortcuts do not fold exactly, and fitting them needs training images: give --data KIND:PATH");
  }
  const auto dataset = data::open_dataset(spec, data::Split::train, opened_as(run, spec, options));
  return image_probe(dataset, run.preprocessing, options.images, options.workers).inputs;
}

}  // namespace respeft::runs
