#include "src/adapters/peft_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace respeft::adapters {
namespace {

/// Characters of a pattern, times how often its counted repetitions copy them.
constexpr uint64_t kLargestPattern = 10'000;
constexpr size_t kMostPatterns = 10'000;
constexpr size_t kLongestName = 1'000;
constexpr std::chrono::seconds kLongestSearch{10};

// libstdc++ can match in polynomial time. Other libraries backtrack, within the limits above.
#ifdef __GLIBCXX__
constexpr auto kSyntax = std::regex_constants::ECMAScript | std::regex_constants::__polynomial;
#else
constexpr auto kSyntax = std::regex_constants::ECMAScript;
#endif

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Walks over a pattern in Python's syntax and throws on everything that ECMAScript reads in another way.
class SyntaxCheck {
 public:
  explicit SyntaxCheck(std::string_view pattern) : pattern_(pattern) {}

  void run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c < 0x20 || c > 0x7e) refuse("a character that is not printable ASCII");
      if (c == '\\') {
        escape(/*in_class=*/false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(' && next(1) == '?') {
        extension();
      } else if (c == '*' || c == '+' || c == '?' || c == '{') {
        repetition();
      } else {
        ++at_;
      }
    }
    if (copies_ * pattern_.size() > kLargestPattern) throw std::runtime_error("it is too large a pattern");
  }

 private:
  [[noreturn]] static void refuse(const std::string& what) {
    throw std::runtime_error(fmt::format("{} in a pattern is not understood here", what));
  }

  char next(size_t offset) const { return at_ + offset < pattern_.size() ? pattern_[at_ + offset] : '\0'; }

  void escape(bool in_class) {
    const char c = next(1);
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) != 0;
    const std::string_view known = in_class ? "dDwWsStnrfv" : "dDwWsSbBtnrfv";
    if (c == '\0') throw std::runtime_error("the pattern ends in a backslash");
    if (letter && known.find(c) == std::string_view::npos) refuse(fmt::format("'\\{}'", c));
    at_ += 2;
  }

  void character_class() {
    ++at_;
    if (next(0) == '^') ++at_;
    if (next(0) == ']') refuse("']' as the first character of a class");
    while (next(0) != ']') {
      if (next(0) == '\0') throw std::runtime_error("the pattern has a '[' without its ']'");
      if (next(0) == '[') refuse("'[' inside a class");
      next(0) == '\\' ? escape(/*in_class=*/true) : void(++at_);
    }
    ++at_;
  }

  /// `(?:`, `(?=` and `(?!` mean the same in both.
  void extension() {
    if (std::string_view(":=!").find(next(2)) == std::string_view::npos || next(2) == '\0')
      refuse(fmt::format("'{}'", pattern_.substr(at_, 4)));
    at_ += 3;
  }

  void repetition() {
    if (next(0) == '{') {
      counts();
    } else {
      ++at_;
    }
    if (next(0) == '?') ++at_;  // takes as little as it can
    const char c = next(0);
    if (c == '+' || c == '*' || c == '?' || c == '{') refuse("a repetition that follows another one");
  }

  /// `{n}`, `{n,}` or `{n,m}`. Python takes any other brace for itself, and `{,m}` for a repetition.
  void counts() {
    const size_t end = pattern_.find('}', at_);
    const std::string_view inner = end == std::string_view::npos ? "" : pattern_.substr(at_ + 1, end - at_ - 1);
    const size_t comma = std::min(inner.find(','), inner.size());
    const std::string_view least = inner.substr(0, comma), most = inner.substr(std::min(comma + 1, inner.size()));
    const auto digits = [](std::string_view text) { return text.size() <= 4 && std::all_of(text.begin(), text.end(), is_digit); };
    if (least.empty() || !digits(least) || !digits(most)) refuse("a brace that is no {n}, {n,} or {n,m} of small numbers");
    copies_ *= std::max<uint64_t>(1, std::stoull(std::string(most.empty() ? least : most)));
    if (copies_ > kLargestPattern) throw std::runtime_error("it is too large a pattern");
    at_ = end + 1;
  }

  std::string_view pattern_;
  size_t at_ = 0;
  uint64_t copies_ = 1;
};

}  // namespace

void ModulePatterns::add(const std::string& pattern, double value) {
  if (entries_.size() >= kMostPatterns) throw std::runtime_error(fmt::format("more than {} patterns", kMostPatterns));
  SyntaxCheck(pattern).run();
  try {
    compiled_.emplace_back("(?:.*\\.)?(?:" + pattern + ")$", kSyntax);
  } catch (const std::regex_error& error) {
    throw std::runtime_error(fmt::format("it is no regular expression: {}", error.what()));
  }
  entries_.push_back({pattern, value});
}

std::optional<double> ModulePatterns::find(const std::string& module) const {
  if (module.size() > kLongestName) throw std::runtime_error(fmt::format("a module's name of {} characters", module.size()));
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto start = std::chrono::steady_clock::now();
    const bool found = std::regex_match(module, compiled_[i]);
    spent_ += std::chrono::steady_clock::now() - start;
    if (found) return entries_[i].value;
    if (spent_ > kLongestSearch) throw std::runtime_error("matching the modules' names against the patterns takes too long");
  }
  return std::nullopt;
}

}  // namespace respeft::adapters
