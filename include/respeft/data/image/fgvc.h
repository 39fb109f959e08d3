#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The five fine-grained datasets (FGVC), with the splits of Jia et al. 2022, "Visual Prompt Tuning".
namespace respeft::data {

struct FgvcTask {
  std::string name;                  ///< `cub`, `nabirds`, `flowers`, `dogs` or `cars`
  std::string title;                 ///< e.g. `CUB-200-2011`
  std::vector<std::string> folders;  ///< usual names of its folder; case and punctuation do not matter
  std::string image_folder;          ///< folder that the lists' paths are relative to, inside the dataset's; may be empty
  int64_t classes;
  int64_t train_images, val_images, test_images;
};

/// All five tasks, in the paper's order.
const std::vector<FgvcTask>& fgvc_tasks();

/// The task with this name or folder name. Throws `std::invalid_argument` that suggests a similar name.
const FgvcTask& fgvc_task(const std::string& name);

/// A task and its folder below some root: `fgvc:ROOT/FOLDER` opens it.
struct FgvcFolder {
  FgvcTask task;
  std::string folder;
};

/// The tasks whose folders are in `root`, in the order of `fgvc_tasks`. Throws `std::runtime_error` if `root` is not a folder.
std::vector<FgvcFolder> fgvc_tasks_in(const std::string& root);

}  // namespace respeft::data
