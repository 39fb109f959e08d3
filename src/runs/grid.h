#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <respeft/runs/config.h>
#include <respeft/runs/settings.h>

/// The fields of a configuration that stand for several runs.
namespace respeft::runs {

/// `1,2,3`. Throws `std::invalid_argument` on anything but different whole numbers, separated by commas.
std::vector<int64_t> parse_seeds(const std::string& seeds);

/// `lr=1,2;weight_decay=0,0.1`: every combination, the last field changing fastest; none for an empty text. Throws
/// `std::invalid_argument` on anything else, and on fields that are not settings of training (e.g. `out`).
std::vector<Settings> parse_grid(const std::string& grid);

/// `config` with these settings. Throws `std::invalid_argument` on a value out of range.
TrainConfig with_settings(TrainConfig config, const Settings& settings);

}  // namespace respeft::runs
