#include <respeft/data/image/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <unordered_map>

#include <respeft/formats/file.h>

#include <respeft/core/text.h>
#include "src/data/image/image_list.h"
#include "src/data/image/kinds.h"

namespace respeft::data {
namespace {

/// A class this much larger than another is mentioned.
constexpr int64_t kImbalance = 10;
/// Images this much longer than wide, or the other way round, are mentioned: resizing to a square distorts them.
constexpr int64_t kLongSides = 3;

/// What reading one image gave.
struct Reading {
  std::string name, fault;  ///< `fault` is empty when it was read
  std::string content;      ///< size and SHA-256 of the pixels
  ImageInfo info;           ///< without a format where the image is no file of its own
  int64_t width = 0, height = 0;
};

/// An image of a split: which reading, and its label.
struct Entry {
  size_t reading;
  int64_t label;
};

struct OpenSplit {
  Split split;
  DatasetPtr dataset;
  std::vector<Entry> entries;
};

Reading read(const Dataset& dataset, int64_t index) {
  Reading reading;
  reading.name = dataset.item_name(index);
  try {
    const auto file = dataset.file(index);
    const Image image = file ? decode_image(read_listed_file(*file), *file, &reading.info) : dataset.load(index);
    reading.width = image.width, reading.height = image.height;
    const std::string_view bytes(reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size());
    reading.content = fmt::format("{}×{} {}", image.width, image.height, formats::sha256(bytes));
  } catch (const std::exception& error) {
    reading.fault = error.what();
  }
  return reading;
}

/// The readings of `count` images, made by `workers` threads; `progress` is called here about ten times a second.
std::vector<Reading> read_all(const std::vector<std::pair<const Dataset*, int64_t>>& images, const CheckOptions& options) {
  const auto count = static_cast<int64_t>(images.size());
  std::vector<Reading> readings(images.size());
  std::atomic<int64_t> next = 0, done = 0;
  std::mutex mutex;
  std::condition_variable finished;
  const auto work = [&] {
    for (int64_t i; (i = next++) < count;) {
      const auto [dataset, index] = images[static_cast<size_t>(i)];
      readings[static_cast<size_t>(i)] = read(*dataset, index);
      if (++done == count) {
        const std::lock_guard lock(mutex);
        finished.notify_one();
      }
    }
  };
  std::vector<std::jthread> threads;
  for (int64_t i = 0; i < std::clamp<int64_t>(options.workers, 1, std::max<int64_t>(count, 1)); ++i) threads.emplace_back(work);
  std::unique_lock lock(mutex);
  do {
    finished.wait_for(lock, std::chrono::milliseconds(100), [&] { return done == count; });
    if (options.progress) options.progress(done, count);
  } while (done < count);
  return readings;
}

std::string plural(size_t count, const std::string& one, const std::string& many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string images_text(size_t count) {
  return plural(count, "image", "images");
}

class Checker {
 public:
  Checker(const std::string& spec, const CheckOptions& options) : spec_(spec), options_(options) {
    if (options.workers < 0) throw std::invalid_argument(fmt::format("{} workers: must be at least 0", options.workers));
  }

  DataReport run() {
    facts_ = published_facts(spec_);
    report_.name = facts_ ? facts_->name : spec_;
    open_splits();
    read_images();
    check_files();
    check_sizes();
    check_classes();
    check_union();
    check_duplicates();
    check_balance();
    summarize_images();
    std::stable_sort(report_.findings.begin(), report_.findings.end(),
                     [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
    return std::move(report_);
  }

 private:
  void find(Severity severity, const char* check, std::string message, std::vector<std::string> items = {}) {
    report_.findings.push_back({severity, check, std::move(message), std::move(items)});
  }

  const OpenSplit* split(Split wanted) const {
    const auto found = std::find_if(splits_.begin(), splits_.end(), [&](const auto& open) { return open.split == wanted; });
    return found == splits_.end() ? nullptr : &*found;
  }

  /// The split that has everything to train on.
  const OpenSplit* training() const { return split(Split::trainval) ? split(Split::trainval) : split(Split::train); }

  void open_splits() {
    const auto listed = listed_splits(spec_, options_.dataset);
    std::set<std::string> known;  // an image folder's classes are those of all splits, and so are their faults
    for (Split listed_split : listed) {
      try {
        splits_.push_back({listed_split, open_dataset(spec_, listed_split, options_.dataset), {}});
      } catch (const DataError& error) {
        std::vector<std::string> faults;
        std::copy_if(error.faults().begin(), error.faults().end(), std::back_inserter(faults),
                     [&](const std::string& fault) { return known.insert(fault).second; });
        const std::string number = plural(faults.size(), "fault", "faults");
        if (!faults.empty()) {
          find(Severity::error, "lists", fmt::format("{} on opening {}", number, to_string(listed_split)), std::move(faults));
        }
        if (error.rest()) splits_.push_back({listed_split, error.rest(), {}});
      } catch (const std::runtime_error& error) {
        find(Severity::error, "lists", fmt::format("{}: cannot be opened", to_string(listed_split)), {error.what()});
      }
    }
    const auto there = [&](Split wanted) { return std::find(listed.begin(), listed.end(), wanted) != listed.end(); };
    if (!there(Split::train) && !there(Split::trainval)) find(Severity::error, "lists", "there is no split to train on");
    if (!facts_ && !there(Split::test)) find(Severity::error, "lists", "there is no test split");
    for (Split wanted : {Split::train, Split::val, Split::test}) {
      if (!facts_ || there(wanted) || facts_->images.count(wanted) == 0) continue;
      find(wanted == Split::test ? Severity::error : Severity::warning, "lists",
           fmt::format("{}: there is no list; {} has {} images", to_string(wanted), facts_->name, facts_->images.at(wanted)));
    }
    for (const auto& remark : dataset_remarks(spec_, options_.dataset)) find(Severity::note, "lists", remark);
    if (!splits_.empty()) report_.class_names = splits_.front().dataset->class_names();
  }

  /// Reads every image once, however many lists have it.
  void read_images() {
    std::unordered_map<std::string, size_t> known;
    std::vector<std::pair<const Dataset*, int64_t>> images;
    for (auto& open : splits_) {
      SplitSummary summary{open.split, open.dataset->size(), std::nullopt, {}};
      summary.class_images.resize(static_cast<size_t>(open.dataset->num_classes()));
      for (int64_t i = 0; i < open.dataset->size(); ++i) {
        const auto [place, is_new] = known.emplace(open.dataset->item_name(i), images.size());
        if (is_new) images.emplace_back(open.dataset.get(), i);
        open.entries.push_back({place->second, open.dataset->label(i)});
        ++summary.class_images.at(static_cast<size_t>(open.entries.back().label));
      }
      if (facts_ && facts_->images.count(open.split) != 0) summary.published = facts_->images.at(open.split);
      report_.splits.push_back(std::move(summary));
    }
    readings_ = read_all(images, options_);
  }

  void check_files() {
    std::vector<std::string> faults;
    for (const auto& reading : readings_) {
      if (!reading.fault.empty()) faults.push_back(reading.fault);
    }
    report_.images.unreadable = static_cast<int64_t>(faults.size());
    const std::string message = images_text(faults.size()) + " missing or unreadable";
    if (!faults.empty()) find(Severity::error, "files", message, std::move(faults));
  }

  void check_sizes() {
    if (!facts_ || options_.any_size) return;
    std::vector<std::string> wrong;
    for (const auto& summary : report_.splits) {
      if (!summary.published || *summary.published == summary.images) continue;
      wrong.push_back(
          fmt::format("{}: {} images; {} has {}", to_string(summary.split), summary.images, facts_->name, *summary.published));
    }
    if (!wrong.empty()) find(Severity::error, "sizes", "numbers of images that are not the published ones", std::move(wrong));
    const auto classes = static_cast<int64_t>(report_.class_names.size());
    if (!splits_.empty() && classes != facts_->classes) {
      find(Severity::error, "classes", fmt::format("{} classes; {} has {}", classes, facts_->name, facts_->classes));
    }
  }

  /// The names of the classes without an image in `split`.
  std::vector<std::string> empty_classes(Split wanted) const {
    std::vector<std::string> names;
    for (const auto& summary : report_.splits) {
      if (summary.split != wanted) continue;
      for (size_t c = 0; c < summary.class_images.size(); ++c) {
        if (summary.class_images[c] == 0) names.push_back(report_.class_names.at(c));
      }
    }
    return names;
  }

  void check_classes() {
    const auto mention = [&](Split wanted, Severity severity, const char* consequence) {
      auto names = empty_classes(wanted);
      if (names.empty()) return;
      const std::string number = plural(names.size(), "class", "classes");
      find(severity, "classes", fmt::format("{}: {} without an image{}", to_string(wanted), number, consequence),
           std::move(names));
    };
    if (training()) mention(training()->split, Severity::warning, "; they cannot be learned");
    mention(Split::test, Severity::note, "");
  }

  /// A list of its own for `trainval` has what `train` and `val` have: the same files, or copies of them.
  void check_union() {
    const auto *train = split(Split::train), *val = split(Split::val), *both = split(Split::trainval);
    if (!train || !val || !both) return;
    std::unordered_map<std::string, size_t> first_with;  // the first image of a content
    const auto same_as = [&](size_t reading) {
      const auto& one = readings_[reading];
      return one.fault.empty() ? first_with.emplace(one.content, reading).first->second : reading;
    };
    using Key = std::pair<size_t, int64_t>;
    std::multiset<Key> listed, parts;
    for (const auto* part : {train, val}) {
      for (const auto& entry : part->entries) parts.emplace(same_as(entry.reading), entry.label);
    }
    for (const auto& entry : both->entries) listed.emplace(same_as(entry.reading), entry.label);
    std::vector<Key> lacking, extra;
    std::set_difference(parts.begin(), parts.end(), listed.begin(), listed.end(), std::back_inserter(lacking));
    std::set_difference(listed.begin(), listed.end(), parts.begin(), parts.end(), std::back_inserter(extra));
    std::vector<std::string> items;
    for (const auto& [reading, label] : lacking) {
      items.push_back(fmt::format("{} with label {}: not in trainval", readings_[reading].name, label));
    }
    for (const auto& [reading, label] : extra) {
      items.push_back(fmt::format("{} with label {}: in neither train nor val", readings_[reading].name, label));
    }
    if (!items.empty()) find(Severity::error, "lists", "trainval is not train and val together", std::move(items));
  }

  /// An occurrence of an image in a split.
  struct Place {
    Split split;
    size_t reading;
    int64_t label;

    auto operator<=>(const Place&) const = default;
  };

  std::string text(const Place& place) const {
    return fmt::format("{} {} (label {})", to_string(place.split), readings_[place.reading].name, place.label);
  }

  /// Whether the split is one of those that have every image's occurrences once: train, val and test, or trainval and test.
  bool is_part(Split wanted) const {
    if (wanted == Split::test) return true;
    const bool apart = !split(Split::trainval) || (split(Split::train) && split(Split::val));
    return (wanted != Split::trainval) == apart;
  }

  void check_duplicates() {
    std::map<std::string, std::vector<Place>> places;  // by content
    for (const auto& open : splits_) {
      if (!is_part(open.split)) continue;
      for (const auto& entry : open.entries) {
        const auto& reading = readings_[entry.reading];
        if (reading.fault.empty()) places[reading.content].push_back({open.split, entry.reading, entry.label});
      }
    }
    std::vector<std::string> within, across, conflicts;
    for (auto& [content, group] : places) {
      if (group.size() < 2) continue;
      std::sort(group.begin(), group.end());
      std::vector<std::string> texts;
      for (const auto& place : group) texts.push_back(text(place));
      const std::string line = text::join(texts, " = ");
      (group.front().split == group.back().split ? within : across).push_back(line);
      const auto differs = [first = group.front().label](const Place& place) { return place.label != first; };
      if (std::any_of(group.begin(), group.end(), differs)) conflicts.push_back(line);
    }
    const auto report = [&](std::vector<std::string>& lines, const char* where) {
      std::sort(lines.begin(), lines.end());
      const std::string message = fmt::format("{} {}", plural(lines.size(), "picture occurs", "pictures occur"), where);
      if (!lines.empty()) find(Severity::warning, "duplicates", message, lines);
    };
    report(across, "in several splits");
    report(within, "more than once in one split");
    report(conflicts, "with different labels");
  }

  void check_balance() {
    if (!training()) return;
    for (const auto& summary : report_.splits) {
      if (summary.split != training()->split) continue;
      int64_t fewest = std::numeric_limits<int64_t>::max(), most = 0;
      for (int64_t images : summary.class_images) {
        if (images > 0) fewest = std::min(fewest, images);
        most = std::max(most, images);
      }
      if (most == 0 || most / kImbalance < fewest) continue;
      find(Severity::note, "balance",
           fmt::format("{}: the largest class has {} images, {:.1f} % of all, and the smallest {}", to_string(summary.split),
                       most, 100.0 * static_cast<double>(most) / static_cast<double>(summary.images), fewest));
    }
  }

  void summarize_images() {
    std::vector<std::array<int64_t, 3>> sizes;  // area, width, height
    std::vector<std::string> cmyk, deep, transparent, turned, long_sided, damaged;
    for (const auto& reading : readings_) {
      if (!reading.fault.empty()) continue;
      const auto& info = reading.info;
      sizes.push_back({reading.width * reading.height, reading.width, reading.height});
      if (!info.format.empty()) {
        ++report_.images.kinds[info.format + " " + info.color + (info.bits == 8 ? "" : fmt::format(" {} bit", info.bits)) +
                               (info.alpha ? " alpha" : "")];
      }
      if (info.color == "CMYK") cmyk.push_back(reading.name);
      if (info.bits == 16) deep.push_back(reading.name);
      if (info.alpha) transparent.push_back(reading.name);
      if (info.orientation != 1) turned.push_back(reading.name);
      if (!info.damage.empty()) damaged.push_back(fmt::format("{} ({})", reading.name, info.damage));
      if (std::max(reading.width, reading.height) > kLongSides * std::min(reading.width, reading.height)) {
        long_sided.push_back(fmt::format("{} ({}×{})", reading.name, reading.width, reading.height));
      }
    }
    report_.images.images = static_cast<int64_t>(readings_.size());
    if (!sizes.empty()) {
      std::sort(sizes.begin(), sizes.end());
      const auto size = [&](size_t i) { return std::array<int64_t, 2>{sizes[i][1], sizes[i][2]}; };
      report_.images.smallest = size(0), report_.images.median = size(sizes.size() / 2);
      report_.images.largest = size(sizes.size() - 1);
    }
    const auto mention = [&](std::vector<std::string>& names, const std::string& what) {
      const std::string message = images_text(names.size()) + " " + what;
      if (!names.empty()) find(Severity::note, "images", message, std::move(names));
    };
    mention(damaged, "damaged, decoded as far as libjpeg can, as Pillow does");
    mention(turned, "turned upright by EXIF orientation, as Pillow's exif_transpose does but torchvision's loader does not");
    mention(cmyk, "in CMYK, converted as Pillow does, without a color profile");
    mention(deep, "of 16 bits, cut to the upper 8");
    mention(transparent, "with transparency, which is dropped");
    mention(long_sided, fmt::format("more than {} times as long as wide, distorted when resized to a square", kLongSides));
  }

  const std::string spec_;
  const CheckOptions& options_;
  std::optional<PublishedFacts> facts_;
  std::vector<OpenSplit> splits_;
  std::vector<Reading> readings_;
  DataReport report_;
};

}  // namespace

std::string to_string(Severity severity) {
  return severity == Severity::note ? "note" : severity == Severity::warning ? "warning" : "error";
}

DataReport check_data(const std::string& spec, const CheckOptions& options) {
  return Checker(spec, options).run();
}

bool has_findings(const std::vector<Finding>& findings, Severity at_least) {
  return std::any_of(findings.begin(), findings.end(), [&](const Finding& finding) { return finding.severity >= at_least; });
}

}  // namespace respeft::data
