#pragma once

#include <string>
#include <vector>

namespace respeft::text {

/// The entries of `list`, separated by `separator`, without surrounding blanks; empty entries are left out.
std::vector<std::string> split(const std::string& list, char separator);

std::string join(const std::vector<std::string>& words, const std::string& separator);

/// The candidate that `word` was most likely meant to be, by edit distance; empty when none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

/// "unknown <what> '<word>'; did you mean '<nearest>'?" or, when none is near, "…; known: a, b, c".
std::string unknown(const std::string& what, const std::string& word, const std::vector<std::string>& candidates);

/// The text with each byte that is not part of UTF-8 written as `\\xNN`, e.g. a Latin-1 file name for JSON. Valid text stays.
std::string valid_utf8(const std::string& text);

}  // namespace respeft::text
