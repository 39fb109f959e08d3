#include "src/cli/output.h"

#include <fmt/format.h>
#include <locale.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::cli {
namespace {

bool pipe_closed = false;          // the reader of stdout has gone: the rest of the results is dropped
bool progress_line_shown = false;  // the cursor stands behind a progress line
const char* const clear_line = "\r\033[K";

void check_stdout(bool ok) {
  if (ok || pipe_closed) return;
  if (errno == EPIPE) {
    pipe_closed = true;
    return;
  }
  const int reason = errno;
  pipe_closed = true;  // nothing more can be said there
  throw std::runtime_error(fmt::format("cannot write the results to standard output: {}", std::strerror(reason)));
}

void write_stderr(const std::string& text) {
  if (progress_line_shown) std::fputs(clear_line, stderr);
  progress_line_shown = false;
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

/// While it lives, the C library reads this thread's text as UTF-8, whatever the user's locale is.
class Utf8 {
 public:
  Utf8() : before_(uselocale(locale())) {}
  ~Utf8() { uselocale(before_); }
  Utf8(const Utf8&) = delete;
  Utf8& operator=(const Utf8&) = delete;

 private:
  static locale_t locale() {
    static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return utf8;  // null leaves the user's own
  }
  locale_t before_;
};

/// Number of columns that UTF-8 text takes on a terminal: two for wide characters, as of Chinese or emoji, none for accents that
/// combine with the letter before. A byte that is no UTF-8 counts as one.
size_t width(const std::string& text) {
  const Utf8 utf8;
  std::mbstate_t state{};
  size_t columns = 0;
  for (size_t at = 0; at < text.size();) {
    wchar_t character = 0;
    const size_t length = std::mbrtowc(&character, text.data() + at, text.size() - at, &state);
    if (length == 0 || length > text.size() - at) {  // a null, or not UTF-8
      state = {};
      ++columns, ++at;
      continue;
    }
    const int wide = wcwidth(character);
    columns += wide < 0 ? 1 : static_cast<size_t>(wide);
    at += length;
  }
  return columns;
}

std::string pad(const std::string& text, size_t columns, bool right) {
  const std::string blanks(columns - std::min(columns, width(text)), ' ');
  return right ? blanks + text : text + blanks;
}

bool looks_like_number(const std::string& cell) {
  return cell.empty() || cell == "–" || std::strchr("0123456789+-.", cell[0]) != nullptr;
}

}  // namespace

void print(std::string_view text) {
  if (!pipe_closed) check_stdout(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}

void print_line(std::string_view line) {
  print(std::string(line) + "\n");
}

void print_json(const nlohmann::json& document) {
  print_line(document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void flush_output() {
  if (!pipe_closed) check_stdout(std::fflush(stdout) == 0);
}

void note(std::string_view line) {
  write_stderr(std::string(line) + "\n");
}

void warn(std::string_view line) {
  write_stderr(fmt::format("respeft: warning: {}\n", line));
}

std::string count(int64_t number) {
  std::string digits = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string bytes(int64_t number) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(number);
  size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < std::size(units)) value /= 1024.0, ++unit;
  return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 100 ? 0 : 1, units[unit]);
}

std::string seconds(double duration) {
  if (duration < 0.001) return fmt::format("{:.0f} µs", duration * 1e6);
  if (duration < 1) return fmt::format("{:.0f} ms", duration * 1e3);
  if (duration < 60) return fmt::format("{:.1f} s", duration);
  const auto whole = std::llround(duration);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string percent(double share) {
  return fmt::format("{:.2f} %", 100 * share);
}

std::string scientific(double value) {
  return value == 0 ? "0" : fmt::format("{:.1e}", value);
}

namespace {

/// Checks that something can be put into the folder that `path` is to lie in.
void check_parent(const std::string& path, const std::filesystem::path& parent) {
  const auto folder = parent.empty() ? std::filesystem::path(".") : parent;
  if (!std::filesystem::is_directory(folder)) {
    throw std::runtime_error(fmt::format("{}: there is no folder {}", path, folder.string()));
  }
  if (access(folder.c_str(), W_OK) != 0) throw std::runtime_error(fmt::format("{}: {}", path, std::strerror(errno)));
}

}  // namespace

void check_output_place(const std::string& path) {
  if (std::filesystem::is_directory(path)) throw std::runtime_error(path + ": is a folder");
  check_parent(path, std::filesystem::path(path).parent_path());
}

void check_output_folder(const std::string& path) {
  namespace fs = std::filesystem;
  fs::path folder(path);
  if (!folder.has_filename()) folder = folder.parent_path();  // a slash at the end
  if (fs::exists(folder) && !fs::is_directory(folder)) throw std::runtime_error(path + ": is a file, and the format a folder");
  if (fs::exists(folder) && !fs::is_empty(folder)) {
    throw std::runtime_error(path + ": the folder is there already and is not empty; name a new one");
  }
  check_parent(path, folder.parent_path());
}

void refuse_to_overwrite(const std::string& flag, const std::string& out, const std::vector<std::string>& read) {
  std::error_code missing;
  for (const auto& file : read) {
    if (std::filesystem::equivalent(out, file, missing))
      throw std::invalid_argument(fmt::format("{} would overwrite {}, which is read", flag, file));
  }
}

Table::Table(std::vector<std::string> header) : header_(std::move(header)) {}

void Table::add(std::vector<std::string> row) {
  row.resize(header_.size());
  rows_.push_back(std::move(row));
}

std::string Table::text(int indent) const {
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (size_t column = 0; column < header_.size(); ++column) {
    widths.push_back(width(header_[column]));
    right.push_back(!rows_.empty());
    for (const auto& row : rows_) {
      widths[column] = std::max(widths[column], width(row[column]));
      right[column] = right[column] && looks_like_number(row[column]);
    }
  }
  std::string text;
  const auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line(static_cast<size_t>(indent), ' ');
    for (size_t column = 0; column < cells.size(); ++column) {
      line += (column ? "  " : "") + pad(cells[column], widths[column], right[column]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  std::vector<std::string> rule;
  for (const size_t columns : widths) {
    std::string dashes;
    for (size_t i = 0; i < columns; ++i) dashes += "─";
    rule.push_back(dashes);
  }
  const bool headed = std::any_of(header_.begin(), header_.end(), [](const auto& cell) { return !cell.empty(); });
  if (headed) add_line(header_);
  if (headed) add_line(rule);
  for (const auto& row : rows_) add_line(row);
  return text;
}

std::string key_values(const std::vector<std::pair<std::string, std::string>>& entries) {
  size_t columns = 0;
  for (const auto& entry : entries) columns = std::max(columns, width(entry.first));
  std::string text;
  for (const auto& [name, value] : entries) text += pad(name, columns, false) + "  " + value + "\n";
  return text;
}

Progress::Progress(std::string what, int64_t total, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      shown_(start_) {
  if (terminal_) update(0);
}

Progress::~Progress() {
  if (progress_line_shown) write_stderr("");
}

void Progress::update(int64_t done, const std::string& remark) {
  using namespace std::chrono;
  done_ = done;
  const auto now = steady_clock::now();
  if (done > 0 && first_ == 0) first_ = done, first_at_ = now;
  const double since_first = duration<double>(now - first_at_).count();
  if (done > first_ && since_first > 0) rate_ = static_cast<double>(done - first_) / since_first;
  const double elapsed = duration<double>(now - start_).count();
  const double since_shown = duration<double>(now - shown_).count();
  const bool finished = done_ >= total_;
  // A plain line at the end only where the work was long enough for somebody to wonder.
  const bool due = terminal_ ? since_shown >= 0.1 || finished || done_ == 0 : since_shown >= 10 || (finished && elapsed >= 2);
  if (!due) return;
  shown_ = now;
  if (!terminal_) return write_stderr(line(elapsed, remark) + "\n");
  std::fputs((clear_line + line(elapsed, remark)).c_str(), stderr);
  std::fflush(stderr);
  progress_line_shown = true;
}

std::string Progress::line(double elapsed, const std::string& remark) const {
  std::string text = fmt::format("{}: {} of {} {}", what_, count(done_), count(total_), unit_);
  if (rate_) {
    const double rate = *rate_;
    text += rate >= 1 ? fmt::format(", {:.1f} {}/s", rate, unit_) : fmt::format(", {:.1f} s each", 1 / rate);
    if (done_ < total_) text += fmt::format(", {} left", seconds(static_cast<double>(total_ - done_) / rate));
  }
  if (done_ >= total_ && done_ > 0) text += fmt::format(", {} in all", seconds(elapsed));
  return remark.empty() ? text : text + "  " + remark;
}

}  // namespace respeft::cli
