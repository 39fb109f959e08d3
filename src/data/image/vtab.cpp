#include <respeft/data/image/vtab.h>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include <respeft/formats/file.h>

#include <respeft/core/text.h>
#include "src/data/image/benchmark.h"
#include "src/data/image/kinds.h"

namespace respeft::data {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_of(const std::vector<VtabTask>& tasks) {
  std::vector<std::string> names;
  for (const auto& task : tasks) names.push_back(task.name);
  return names;
}

const VtabTask* find_vtab_task(const std::string& name) {
  const auto& tasks = vtab_tasks();
  const auto found = std::find_if(tasks.begin(), tasks.end(), [&](const VtabTask& task) { return task.name == name; });
  return found == tasks.end() ? nullptr : &*found;
}

/// The task that the folder `path` holds.
const VtabTask& vtab_task_at(const std::string& path) {
  const auto known = names_of(vtab_tasks());
  require_dataset_folder(path, known);
  if (const auto* task = find_vtab_task(folder_name(path))) return *task;
  throw_unknown_dataset("vtab", path, known, names_of(vtab_tasks_in(path)));
}

std::string vtab_list_path(const std::string& folder, Split split) {
  const char* const name = split == Split::train  ? "train800.txt"
                           : split == Split::val  ? "val200.txt"
                           : split == Split::test ? "test.txt"
                                                  : "train800val200.txt";
  return (fs::path(folder) / name).string();
}

std::vector<Split> vtab_splits(const std::string& folder) {
  vtab_task_at(folder);
  std::vector<Split> there;
  for (Split split : all_splits()) {
    if (fs::is_regular_file(vtab_list_path(folder, split))) there.push_back(split);
  }
  return there;
}

/// Adds the image of one line, `images/….jpg LABEL`; returns what is wrong with it, or nothing.
std::string read_line(const std::string& line, const std::string& folder, const VtabTask& task,
                      std::vector<ListedImage>& images) {
  const size_t blank = line.find_last_of(" \t");
  if (blank == std::string::npos) return fmt::format("expected 'IMAGE LABEL', not '{}'", line);
  const std::string name = line.substr(0, line.find_last_not_of(" \t", blank) + 1), text = line.substr(blank + 1);
  if (const std::string fault = image_path_fault(name); !fault.empty()) return fault;
  int64_t label = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), label);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fmt::format("expected 'IMAGE LABEL' with a whole number as the label, not '{}'", text);
  }
  if (label < 0 || label >= task.classes) {
    return fmt::format("label {} of {}: {} has {} classes, so labels are 0 … {}", label, name, task.name, task.classes,
                       task.classes - 1);
  }
  images.push_back({(fs::path(folder) / name).string(), label});
  return "";
}

DatasetPtr open_vtab(const std::string& folder, Split split) {
  const VtabTask& task = vtab_task_at(folder);
  const std::string path = vtab_list_path(folder, split);
  std::istringstream lines(formats::read_file(path));
  std::vector<ListedImage> images;
  std::vector<std::string> faults;
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.empty()) continue;
    const std::string fault = read_line(line, folder, task, images);
    if (!fault.empty()) faults.push_back(fmt::format("{}:{}: {}", path, number, fault));
  }
  std::vector<std::string> class_names;  // the lists have numbers only
  for (int64_t i = 0; i < task.classes; ++i) class_names.push_back(std::to_string(i));
  return checked_list(path, fmt::format("vtab {}, {}", task.name, to_string(split)), std::move(images), std::move(class_names),
                      std::move(faults));
}

PublishedFacts published_vtab(const std::string& path) {
  const VtabTask& task = vtab_task_at(path);
  return {fmt::format("VTAB-1k's {}", task.name),
          task.classes,
          {{Split::train, kVtabTrainImages},
           {Split::val, kVtabValImages},
           {Split::trainval, kVtabTrainImages + kVtabValImages},
           {Split::test, task.test_images}}};
}

}  // namespace

std::string to_string(VtabGroup group) {
  return group == VtabGroup::natural ? "natural" : group == VtabGroup::specialized ? "specialized" : "structured";
}

const std::vector<VtabTask>& vtab_tasks() {
  using enum VtabGroup;
  static const std::vector<VtabTask> tasks = {
      {"cifar", natural, 100, 10000},
      {"caltech101", natural, 102, 6084},
      {"dtd", natural, 47, 1880},
      {"oxford_flowers102", natural, 102, 6149},
      {"oxford_iiit_pet", natural, 37, 3669},
      {"svhn", natural, 10, 26032},
      {"sun397", natural, 397, 21750},
      {"patch_camelyon", specialized, 2, 32768},
      {"eurosat", specialized, 10, 5400},
      {"resisc45", specialized, 45, 6300},
      {"diabetic_retinopathy", specialized, 5, 42670},
      {"clevr_count", structured, 8, 15000},
      {"clevr_dist", structured, 6, 15000},
      {"dmlab", structured, 6, 22735},
      {"kitti", structured, 4, 711},
      {"dsprites_loc", structured, 16, 73728},
      {"dsprites_ori", structured, 16, 73728},
      {"smallnorb_azi", structured, 18, 12150},
      {"smallnorb_ele", structured, 9, 12150},
  };
  return tasks;
}

const VtabTask& vtab_task(const std::string& name) {
  if (const auto* task = find_vtab_task(name)) return *task;
  throw std::invalid_argument(text::unknown("VTAB-1k dataset", name, names_of(vtab_tasks())));
}

std::vector<VtabTask> vtab_tasks_in(const std::string& root) {
  require_folder(root);
  std::vector<VtabTask> present;
  for (const auto& task : vtab_tasks()) {
    if (fs::is_directory(fs::path(root) / task.name)) present.push_back(task);
  }
  return present;
}

DatasetKind vtab_kind() {
  return {"vtab", "ROOT/DATASET, a dataset of VTAB-1k: train800.txt, val200.txt, train800val200.txt, test.txt and images/",
          vtab_splits, open_vtab, published_vtab};
}

}  // namespace respeft::data
