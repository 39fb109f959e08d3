#include <respeft/data/image/fgvc.h>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <variant>

#include <respeft/formats/file.h>

#include <respeft/core/text.h>
#include "src/data/image/benchmark.h"
#include "src/data/image/kinds.h"

namespace respeft::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr Split kListed[] = {Split::train, Split::val, Split::test};

std::vector<std::string> names_of_tasks() {
  std::vector<std::string> names;
  for (const auto& task : fgvc_tasks()) names.push_back(task.name);
  return names;
}

/// Letters in lower case and digits: `CUB_200_2011` -> `cub2002011`.
std::string plain(const std::string& name) {
  std::string letters;
  for (const unsigned char c : name) {
    if (std::isalnum(c)) letters += static_cast<char>(std::tolower(c));
  }
  return letters;
}

const FgvcTask* find_fgvc_task(const std::string& name) {
  for (const auto& task : fgvc_tasks()) {
    for (const auto& folder : task.folders) {
      if (plain(folder) == plain(name)) return &task;
    }
  }
  return nullptr;
}

/// The task that the folder `path` holds.
const FgvcTask& fgvc_task_at(const std::string& path) {
  require_dataset_folder(path, names_of_tasks());
  if (const auto* task = find_fgvc_task(folder_name(path))) return *task;
  std::vector<std::string> present;
  for (const auto& found : fgvc_tasks_in(path)) present.push_back(found.folder);
  throw_unknown_dataset("fgvc", path, names_of_tasks(), present);
}

/// `path`, or where there is none the folder beside it that holds the task of that name: `fgvc/cub` -> `fgvc/CUB_200_2011`.
std::string actual_folder(const std::string& path) {
  const auto* task = find_fgvc_task(folder_name(path));
  const fs::path root = (fs::path(path) / "..").lexically_normal();
  if (fs::exists(path) || !task || !fs::is_directory(root)) return path;
  for (const auto& found : fgvc_tasks_in(root.string())) {
    if (found.task.name == task->name) return (root / found.folder).string();
  }
  return path;
}

std::string fgvc_list_path(const std::string& folder, Split split) {
  return (fs::path(folder) / (to_string(split) + ".json")).string();
}

std::vector<Split> fgvc_splits(const std::string& path) {
  const std::string folder = actual_folder(path);
  fgvc_task_at(folder);
  std::vector<Split> there;
  for (Split split : kListed) {
    if (fs::is_regular_file(fgvc_list_path(folder, split))) there.push_back(split);
  }
  return there;
}

/// A class's id as a list has it: numbers sort before texts, each among themselves.
using ClassId = std::variant<int64_t, std::string>;

std::string text(const ClassId& id) {
  return std::holds_alternative<int64_t>(id) ? std::to_string(std::get<int64_t>(id)) : std::get<std::string>(id);
}

/// One list: images and their classes' ids, sorted by path.
struct Annotations {
  std::string path;
  std::map<std::string, ClassId> images;
  std::vector<std::string> faults;
};

std::string parser_message(const json::exception& error) {
  const std::string message = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: …"
  const size_t end = message.find("] ");
  return end == std::string::npos ? message : message.substr(end + 2);
}

Annotations read_annotations(const std::string& path) {
  Annotations list{path, {}, {}};
  std::set<std::string> seen;
  const auto note_duplicates = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && !seen.insert(value.get<std::string>()).second) {
      list.faults.push_back(fmt::format("{}: '{}' is listed twice", path, value.get<std::string>()));
    }
    return true;
  };
  json object;
  try {
    object = json::parse(formats::read_file(path), note_duplicates);
  } catch (const json::exception& error) {
    throw std::runtime_error(fmt::format("{}: not JSON: {}", path, parser_message(error)));
  }
  if (!object.is_object()) throw std::runtime_error(path + ": expected a JSON object of image paths and class ids");
  for (const auto& [name, id] : object.items()) {
    const bool in_range = !id.is_number_unsigned() || id.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
    std::string fault = image_path_fault(name);
    if (fault.empty() && !id.is_string() && !(id.is_number_integer() && in_range)) {
      fault = fmt::format("'{}': the class id is {}; expected a whole number or a text", name,
                          id.is_primitive() ? id.dump() : id.type_name());
    }
    if (!fault.empty()) {
      list.faults.push_back(fmt::format("{}: {}", path, fault));
    } else {
      list.images.emplace(name, id.is_string() ? ClassId(id.get<std::string>()) : ClassId(id.get<int64_t>()));
    }
  }
  return list;
}

/// The classes of all lists: ids in sorted order, and their names.
struct Classes {
  std::map<ClassId, int64_t> labels;
  std::vector<std::string> names;
};

/// Names are those of the images' folders where each class has one of its own, and the ids elsewhere.
Classes find_classes(const std::vector<Annotations>& lists) {
  std::map<ClassId, std::set<std::string>> folders;
  for (const auto& list : lists) {
    for (const auto& [name, id] : list.images) folders[id].insert(fs::path(name).parent_path().filename().string());
  }
  std::set<std::string> distinct;
  bool own_folder = true;
  for (const auto& [id, names] : folders) {
    own_folder = own_folder && names.size() == 1 && !names.begin()->empty() && distinct.insert(*names.begin()).second;
  }
  Classes classes;
  for (const auto& [id, names] : folders) {
    classes.labels.emplace(id, static_cast<int64_t>(classes.labels.size()));
    classes.names.push_back(own_folder ? *names.begin() : text(id));
  }
  return classes;
}

DatasetPtr open_fgvc(const std::string& path, Split split) {
  const std::string folder = actual_folder(path);
  const FgvcTask& task = fgvc_task_at(folder);
  const fs::path images_root = fs::path(folder) / task.image_folder;
  require_folder(images_root.string());
  std::vector<Annotations> lists;  // of all splits, so that a class has one label in all
  size_t wanted = 0;
  for (Split there : fgvc_splits(folder)) {
    if (there == split) wanted = lists.size();
    lists.push_back(read_annotations(fgvc_list_path(folder, there)));
  }
  const Classes classes = find_classes(lists);
  std::vector<ListedImage> images;
  for (const auto& [name, id] : lists[wanted].images) images.push_back({(images_root / name).string(), classes.labels.at(id)});
  return checked_list(lists[wanted].path, fmt::format("fgvc {}, {}", task.name, to_string(split)), std::move(images),
                      classes.names, lists[wanted].faults);
}

PublishedFacts published_fgvc(const std::string& path) {
  const FgvcTask& task = fgvc_task_at(actual_folder(path));
  return {task.title,
          task.classes,
          {{Split::train, task.train_images},
           {Split::val, task.val_images},
           {Split::trainval, task.train_images + task.val_images},
           {Split::test, task.test_images}}};
}

}  // namespace

const std::vector<FgvcTask>& fgvc_tasks() {
  static const std::vector<FgvcTask> tasks = {
      {"cub", "CUB-200-2011", {"cub", "CUB_200_2011", "CUB200"}, "images", 200, 5394, 600, 5794},
      {"nabirds", "NABirds", {"nabirds", "nabirds555"}, "images", 555, 21536, 2393, 24633},
      {"flowers",
       "Oxford Flowers",
       {"flowers", "OxfordFlowers", "OxfordFlower", "flowers102", "oxford_flowers102"},
       "",
       102,
       1020,
       1020,
       6149},
      {"dogs", "Stanford Dogs", {"dogs", "StanfordDogs", "dogs120"}, "Images", 120, 10800, 1200, 8580},
      {"cars", "Stanford Cars", {"cars", "StanfordCars", "cars196"}, "", 196, 7329, 815, 8041},
  };
  return tasks;
}

const FgvcTask& fgvc_task(const std::string& name) {
  if (const auto* task = find_fgvc_task(name)) return *task;
  throw std::invalid_argument(text::unknown("FGVC dataset", name, names_of_tasks()));
}

std::vector<FgvcFolder> fgvc_tasks_in(const std::string& root) {
  require_folder(root);
  std::vector<FgvcFolder> present;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string folder = entry.path().filename().string();
    const auto* task = entry.is_directory() ? find_fgvc_task(folder) : nullptr;
    if (task) present.push_back({*task, folder});
  }
  const auto place = [](const FgvcFolder& found) {
    const auto same = [&](const FgvcTask& task) { return task.name == found.task.name; };
    return std::find_if(fgvc_tasks().begin(), fgvc_tasks().end(), same) - fgvc_tasks().begin();
  };
  std::sort(present.begin(), present.end(), [&](const FgvcFolder& a, const FgvcFolder& b) {
    return std::pair(place(a), a.folder) < std::pair(place(b), b.folder);
  });
  return present;
}

DatasetKind fgvc_kind() {
  return {"fgvc", "ROOT/DATASET, one of five fine-grained datasets with VPT's lists: train.json, val.json, test.json and images",
          fgvc_splits, open_fgvc, published_fgvc};
}

}  // namespace respeft::data
