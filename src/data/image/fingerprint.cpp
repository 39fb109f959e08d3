#include <respeft/data/image/fingerprint.h>

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/formats/file.h>

#include "src/formats/json.h"

namespace respeft::data {

using nlohmann::json;

SplitFingerprint fingerprint(const Dataset& dataset, const std::string& root) {
  constexpr size_t piece = 1 << 20;
  SplitFingerprint result{dataset.size(), ""};
  std::string text;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    std::string name = dataset.item_name(i);
    if (!root.empty() && name.starts_with(root)) name.erase(0, name.find_first_not_of('/', root.size()));
    text += fmt::format("{}\t{}\n", dataset.label(i), name);
    if (text.size() >= piece) text = formats::sha256(text);
  }
  result.sha256 = formats::sha256(text);
  return result;
}

std::string to_json(const DataFingerprint& fingerprint) {
  json splits = json::object();
  for (const auto& [name, split] : fingerprint.splits) splits[name] = {{"images", split.images}, {"sha256", split.sha256}};
  const json document = {{"class_names", fingerprint.class_names}, {"splits", splits}};
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

DataFingerprint data_fingerprint_from_json(const std::string& text) {
  const json document = formats::parse_json(text);
  DataFingerprint result;
  try {
    document.at("class_names").get_to(result.class_names);
    for (const auto& [name, split] : document.at("splits").items()) {
      result.splits[name] = {split.at("images").get<int64_t>(), split.at("sha256").get<std::string>()};
    }
  } catch (const json::exception& error) {
    throw std::runtime_error(fmt::format("not a description of data: {}", error.what()));
  }
  return result;
}

namespace {

std::string class_difference(const std::vector<std::string>& before, const std::vector<std::string>& now) {
  if (before.size() != now.size()) return fmt::format("there were {} classes and are {}", before.size(), now.size());
  const auto [was, is] = std::mismatch(before.begin(), before.end(), now.begin());
  return fmt::format("class {} was '{}' and is '{}'", was - before.begin(), *was, *is);
}

}  // namespace

std::vector<std::string> differences(const DataFingerprint& before, const DataFingerprint& now) {
  std::vector<std::string> lines;
  if (before.class_names != now.class_names) lines.push_back(class_difference(before.class_names, now.class_names));
  for (const auto& [name, split] : before.splits) {
    const auto found = now.splits.find(name);
    if (found == now.splits.end() || found->second == split) continue;
    lines.push_back(found->second.images == split.images
                        ? fmt::format("{} has other images or labels", name)
                        : fmt::format("{} had {} images and has {}", name, split.images, found->second.images));
  }
  return lines;
}

}  // namespace respeft::data
