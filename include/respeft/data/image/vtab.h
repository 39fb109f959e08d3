#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The 19 tasks of VTAB-1k. Source: Zhai et al. 2019, "A Large-scale Study of Representation Learning with the Visual Task
// Adaptation Benchmark"; the sizes of the test splits come from its data pipeline
// (github.com/google-research/task_adaptation).
namespace respeft::data {

enum class VtabGroup { natural, specialized, structured };

/// `"natural"`, `"specialized"`, `"structured"`.
std::string to_string(VtabGroup group);

/// Number of images in `train800.txt` and in `val200.txt` of every dataset; `train800val200.txt` has both.
constexpr int64_t kVtabTrainImages = 800, kVtabValImages = 200;

struct VtabTask {
  std::string name;  ///< and its folder's, e.g. `oxford_flowers102`
  VtabGroup group;
  int64_t classes;
  int64_t test_images;
};

/// All 19 tasks by group, in the order of the papers' tables.
const std::vector<VtabTask>& vtab_tasks();

/// The task of this name. Throws `std::invalid_argument` that suggests a similar name.
const VtabTask& vtab_task(const std::string& name);

/// The tasks whose folders are in `root`, in the order of `vtab_tasks`: `vtab:ROOT/NAME` opens them.
/// Throws `std::runtime_error` if `root` is not a folder.
std::vector<VtabTask> vtab_tasks_in(const std::string& root);

}  // namespace respeft::data
