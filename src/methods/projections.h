#pragma once

#include <respeft/nn/adapter.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

namespace respeft::methods {

/// What is trained for a contiguous run of a linear weight's rows: those of one logical projection, or all.
struct RowUpdate : torch::nn::Module {
  RowUpdate(int64_t first, int64_t count) : first_row(first), rows(count) {}
  const int64_t first_row, rows;
};

/// A projection as one call needs it.
struct Asked {
  size_t index;  ///< in `updates()`
  int64_t row;   ///< of the output asked for, where the update starts
  int64_t skip;  ///< the projection's rows before the first that is asked for
  int64_t rows;  ///< its rows that are asked for
};

/// An adapter of a linear site with one `Update` (a `RowUpdate`) for the whole weight, whose parameters are the adapter's own, or
/// one for each chosen projection fused in it, registered under the projection's name.
template <class Update>
class ProjectionAdapter : public nn::WeightAdapter {
 public:
  using Updates = std::vector<std::shared_ptr<Update>>;
  /// Makes the update of the rows from `first` on.
  using Make = std::function<std::shared_ptr<Update>(int64_t first, int64_t rows)>;

  /// `chosen` are the parts that get an update; with `whole` the fused weight gets one, as if it were not fused.
  ProjectionAdapter(const nn::SiteInfo& info, const std::vector<int64_t>& chosen, bool whole, const Make& make)
      : part_features_(info.part_features()) {
    if (whole || info.parts.size() == 1) {
      updates_.push_back(make(0, info.out_features));
      for (const auto& item : updates_[0]->named_parameters()) register_parameter(item.key(), item.value());
      return;
    }
    for (const int64_t part : chosen) {
      updates_.push_back(make(part * part_features_, part_features_));
      register_module(info.parts[static_cast<size_t>(part)], updates_.back());
    }
  }

  const Updates& updates() const { return updates_; }

 protected:
  /// The updates that `range` takes in; all have the same number of rows.
  std::vector<Asked> asked(const nn::PartRange& range) const {
    const int64_t begin = range.begin * part_features_, end = range.end * part_features_;
    std::vector<Asked> found;
    for (size_t index = 0; index < updates_.size(); ++index) {
      const auto& update = *updates_[index];
      const int64_t first = std::max(begin, update.first_row), last = std::min(end, update.first_row + update.rows);
      if (first < last) found.push_back({index, first - begin, first - update.first_row, last - first});
    }
    return found;
  }

 private:
  int64_t part_features_;
  Updates updates_;
};

}  // namespace respeft::methods
