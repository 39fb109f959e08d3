#pragma once

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace respeft::cli {

/// Writes results to stdout. A closed pipe (`| head`) silently drops the rest; any other failure throws `std::runtime_error`.
void print(std::string_view text);
void print_line(std::string_view line = "");
/// Writes the one JSON document that `--json` promises.
void print_json(const nlohmann::json& document);
/// Flushes stdout, with the same errors as `print`.
void flush_output();

/// A line on stderr for the person watching; clears the progress line first.
void note(std::string_view line);
/// The same, as "respeft: warning: …".
void warn(std::string_view line);

std::string count(int64_t number);     ///< "288,768"
std::string bytes(int64_t number);     ///< "1.2 GiB", "345 KiB"
std::string seconds(double duration);  ///< "0.42 s", "1:05", "2:03:10"
std::string percent(double share);     ///< "84.93 %"
std::string scientific(double value);  ///< "3.1e-07"; "0" for zero

/// Checks before long work that a file can be written at `path`: that its folder is there and it is no folder itself.
/// Throws `std::runtime_error` naming the path and the fault.
void check_output_place(const std::string& path);

/// The same for a folder, which may be there already if it is empty.
void check_output_folder(const std::string& path);

/// Throws `std::invalid_argument` when `out`, given with `flag`, is one of the files that are read.
void refuse_to_overwrite(const std::string& flag, const std::string& out, const std::vector<std::string>& read);

/// A plain table: a header and a rule (left out when all its cells are empty), rows; columns of numbers are set right.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  /// `row` has as many cells as the header.
  void add(std::vector<std::string> row);
  /// The whole table, ended by a newline; `indent` blanks before each line.
  std::string text(int indent = 0) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

/// Two columns: names and values, set under each other. Ended by a newline.
std::string key_values(const std::vector<std::pair<std::string, std::string>>& entries);

/// Progress of long work on stderr: one updating line with rate and time left on a terminal, and a plain line every ten
/// seconds and at the end when stderr is not a terminal. Only one at a time.
class Progress {
 public:
  /// `what` is being done to `total` things called `unit`, e.g. `Progress("predicting", 2000, "images")`.
  Progress(std::string what, int64_t total, std::string unit);
  ~Progress();  ///< removes the line from the terminal
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` things in all are done now. `remark` is put at the line's end, e.g. "loss 0.31".
  void update(int64_t done, const std::string& remark = "");
  /// The same, counted from the last call.
  void advance(int64_t more = 1, const std::string& remark = "") { update(done_ + more, remark); }

 private:
  std::string line(double elapsed, const std::string& remark) const;

  std::string what_, unit_;
  int64_t total_, done_ = 0;
  bool terminal_;
  std::chrono::steady_clock::time_point start_, shown_;
  /// The first step, which waits for the first images and warms up, is left out of the rate.
  int64_t first_ = 0;
  std::chrono::steady_clock::time_point first_at_;
  std::optional<double> rate_;
};

}  // namespace respeft::cli
