#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace respeft::text {

/// The entries of `list`, separated by `separator`, without surrounding blanks; empty entries are left out.
std::vector<std::string> split(const std::string& list, char separator);

std::string join(const std::vector<std::string>& words, const std::string& separator);

/// The candidate that `word` was most likely meant to be, by edit distance; empty if none is close.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

/// "unknown <what> '<word>'; did you mean '<nearest>'?" or, if none is close, "…; known: a, b, c".
std::string unknown(const std::string& what, const std::string& word, const std::vector<std::string>& candidates);

/// True if `bytes` is well-formed UTF-8.
bool is_utf8(std::string_view bytes);

/// `bytes` as UTF-8: each byte that is not part of a well-formed character becomes `\xHH`, as with Python's `backslashreplace`.
std::string to_utf8(std::string_view bytes);

}  // namespace respeft::text
