#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>

#include "tests/emulator/ptx_syntax.h"

namespace emulator::ptx {

void fail(int line, const std::string& what) {
  throw std::runtime_error("PTX line " + std::to_string(line) + ": " + what);
}

namespace {

struct Token {
  std::string_view text;
  int line;
};

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}

/// Words (with their dots and double colons), strings with their quotes, and single characters; without comments.
std::vector<Token> tokens(std::string_view text) {
  std::vector<Token> all;
  int line = 1;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const auto rest = text.substr(at);
    if (rest.starts_with("//")) {
      at = std::min(text.find('\n', at), text.size());
    } else if (rest.starts_with("/*")) {
      at = text.find("*/", at);
      if (at == text.npos) fail(line, "a comment without an end");
      at += 2;
      line += static_cast<int>(std::count(text.begin() + start, text.begin() + at, '\n'));
    } else if (std::isspace(static_cast<unsigned char>(text[at]))) {
      line += text[at++] == '\n';
    } else if (text[at] == '"') {
      at = text.find('"', at + 1);
      if (at == text.npos) fail(line, "a string without an end");
      all.push_back({text.substr(start, ++at - start), line});
    } else if (is_word(text[at])) {
      while (at < text.size() && (is_word(text[at]) || text.substr(at, 2) == "::")) at += text[at] == ':' ? 2 : 1;
      all.push_back({text.substr(start, at - start), line});
    } else {
      all.push_back({text.substr(at++, 1), line});
    }
  }
  return all;
}

std::vector<std::string> split(std::string_view words, char separator) {
  std::vector<std::string> parts;
  for (size_t end = 0; end != words.npos; words.remove_prefix(std::min(end + 1, words.size()))) {
    end = words.find(separator);
    parts.emplace_back(words.substr(0, end));
  }
  return parts;
}

class Parser {
 public:
  explicit Parser(std::string text) : text_(std::move(text)), tokens_(tokens(text_)) {}
  ModuleText parse();

 private:
  struct Loc {
    int file, line, column;
    auto operator<=>(const Loc&) const = default;
  };
  struct Declaration {
    Variable variable;
    bool unsized = false;
  };

  // The stream of tokens.
  bool at_end() const { return next_ == tokens_.size(); }
  std::string_view peek() const { return at_end() ? std::string_view() : tokens_[next_].text; }
  int line() const { return tokens_.empty() ? 0 : tokens_[std::min(next_, tokens_.size() - 1)].line; }
  std::string_view take();
  bool take_if(std::string_view text);
  void expect(std::string_view text);
  uint64_t take_number();
  void skip_line(int line);
  void skip_braces();

  void parse_top_level();
  void parse_file();
  void parse_variable(const std::string& space, bool external);
  Declaration parse_declaration();
  void parse_initializer(Variable& variable, size_t element_size);
  void parse_kernel();
  void parse_body();
  void parse_body_directive();
  void parse_loc();
  void parse_registers();
  void parse_statement();
  Operand parse_operand();
  Operand parse_list(Operand::Kind kind, std::string_view end);
  Operand parse_word(std::string_view word);
  Operand parse_number(std::string_view word, bool negative);
  std::string register_name(std::string_view name) const;
  std::string source_place() const;

  std::string text_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
  ModuleText module_;
  KernelText* kernel_ = nullptr;
  std::vector<std::unordered_map<std::string, std::string>> scopes_;  ///< a register's name in the text -> in the kernel
  std::map<int, std::string> files_;
  std::map<Loc, Loc> inlined_at_;
  std::optional<Loc> loc_;
};

std::string_view Parser::take() {
  if (at_end()) fail(line(), "the file ends in the middle");
  return tokens_[next_++].text;
}

bool Parser::take_if(std::string_view text) {
  const bool found = peek() == text;
  next_ += found;
  return found;
}

void Parser::expect(std::string_view text) {
  const int where = line();
  if (const auto found = take(); found != text)
    fail(where, "expected '" + std::string(text) + "', found '" + std::string(found) + "'");
}

uint64_t Parser::take_number() {
  const int where = line();
  const auto number = parse_number(take(), false);
  if (number.kind != Operand::Kind::Integer) fail(where, "expected an integer");
  return number.bits;
}

void Parser::skip_line(int line) {
  while (!at_end() && tokens_[next_].line == line) ++next_;
}

void Parser::skip_braces() {
  expect("{");
  for (int depth = 1; depth > 0;) {
    const auto token = take();
    depth += (token == "{") - (token == "}");
  }
}

ModuleText Parser::parse() {
  expect(".version");
  skip_line(tokens_[next_ - 1].line);
  const auto first = next_;
  for (next_ = 0; !at_end(); ++next_)  // they stand at the end of the file, but name what comes before
    if (peek() == ".file") parse_file();
  next_ = first;
  while (!at_end()) parse_top_level();
  return std::move(module_);
}

void Parser::parse_top_level() {
  const int where = line();
  bool external = false;
  std::string word(take());
  while (word == ".visible" || word == ".weak" || word == ".extern") {
    external |= word == ".extern";
    word = take();
  }
  if (word == ".target" || word == ".address_size" || word == ".file") return skip_line(where);
  if (word == ".section") {
    take();
    return skip_braces();
  }
  if (word == ".entry") return parse_kernel();
  if (word == ".func") {  // a call is refused, so what it would run does not matter
    while (peek() != "{" && peek() != ";") take();
    return peek() == ";" ? expect(";") : skip_braces();
  }
  if (word == ".shared" || word == ".global" || word == ".const") return parse_variable(word, external);
  fail(where, "unknown directive '" + word + "'");
}

void Parser::parse_file() {
  expect(".file");
  const int where = line();
  const int number = static_cast<int>(take_number());
  const std::string path(take());
  if (path.size() < 2 || path.front() != '"') fail(where, "expected a path");
  files_[number] = std::filesystem::path(path.substr(1, path.size() - 2)).filename().string();
  --next_;
}

void Parser::parse_variable(const std::string& space, bool external) {
  const int where = line();
  auto declaration = parse_declaration();
  expect(";");
  if (declaration.unsized != (external && space == ".shared")) fail(where, "an array without a size");
  auto& list = declaration.unsized  ? module_.dynamic_shared
               : space == ".shared" ? module_.shared
               : space == ".global" ? module_.global
                                    : module_.constant;
  list.push_back(std::move(declaration.variable));
}

/// .align 16 .b8 name[256], or = {1, 2}
Parser::Declaration Parser::parse_declaration() {
  const int where = line();
  Declaration declaration;
  auto& variable = declaration.variable;
  size_t element = 0;
  bool pointer = false;  // from here on, the attributes are of what it points to
  while (peek().starts_with(".")) {
    const std::string word(take());
    if (word == ".align") {
      const auto alignment = take_number();
      if (!pointer) variable.alignment = alignment;
    } else if (word == ".ptr" || (pointer && (word == ".global" || word == ".const" || word == ".shared"))) {
      pointer = true;
    } else if (word.size() > 2 && word.find_first_not_of("0123456789", 2) == word.npos && std::strchr("bsuf", word[1])) {
      element = std::stoul(word.substr(2)) / 8;
    } else {
      fail(where, "unknown attribute '" + word + "' of a variable");
    }
  }
  if (!element) fail(where, "a variable without a type");
  variable.alignment = std::max(variable.alignment, element);
  variable.name = take();
  variable.size = element;
  while (take_if("[")) {
    declaration.unsized = peek() == "]";
    if (!declaration.unsized) variable.size *= take_number();
    expect("]");
  }
  if (take_if("=")) parse_initializer(variable, element);
  return declaration;
}

void Parser::parse_initializer(Variable& variable, size_t element) {
  const int where = line();
  const bool list = take_if("{");
  do {
    const auto value = parse_operand();
    if (value.kind != Operand::Kind::Integer && value.kind != Operand::Kind::Float)
      fail(where, "an initializer that is not a number");
    for (size_t i = 0; i < element; ++i) variable.values.push_back(static_cast<unsigned char>(value.bits >> (8 * i)));
  } while (list && take_if(","));
  if (list) expect("}");
  if (variable.values.size() > variable.size) fail(where, "an initializer longer than its variable");
  variable.values.resize(variable.size);
}

void Parser::parse_kernel() {
  KernelText kernel;
  kernel.name = take();
  if (take_if("(") && !take_if(")")) {
    do {
      expect(".param");
      kernel.parameters.push_back(parse_declaration().variable);
    } while (take_if(","));
    expect(")");
  }
  while (peek() != "{") {
    const int where = line();
    const auto word = take();
    if (word == ".maxntid" || word == ".reqntid") {
      kernel.max_threads = 1;
      do kernel.max_threads *= static_cast<int>(take_number());
      while (take_if(","));
    } else if (word == ".minnctapersm" || word == ".maxnreg") {
      take_number();
    } else {
      fail(where, "unknown directive '" + std::string(word) + "' of a kernel");
    }
  }
  kernel_ = &kernel;
  loc_.reset();
  parse_body();
  kernel_ = nullptr;
  module_.kernels.push_back(std::move(kernel));
}

void Parser::parse_body() {
  do {
    if (take_if("{")) {
      scopes_.emplace_back();
    } else if (take_if("}")) {
      scopes_.pop_back();
    } else if (peek().starts_with(".")) {
      parse_body_directive();
    } else if (next_ + 1 < tokens_.size() && tokens_[next_ + 1].text == ":") {
      const std::string label(take());
      expect(":");
      if (peek() == ".branchtargets") {
        take();
        auto& targets = kernel_->branch_targets[label];
        do targets.emplace_back(take());
        while (take_if(","));
        expect(";");
      } else if (!kernel_->labels.emplace(label, kernel_->statements.size()).second) {
        fail(line(), "label '" + label + "' twice");
      }
    } else {
      parse_statement();
    }
  } while (!scopes_.empty());
}

void Parser::parse_body_directive() {
  const int where = line();
  const auto word = take();
  if (word == ".reg") return parse_registers();
  if (word == ".loc") return parse_loc();
  if (word == ".pragma") {
    if (const auto pragma = take(); pragma != "\"nounroll\"" && !pragma.starts_with("\"used_bytes_mask "))  // hints
      fail(where, "unknown pragma " + std::string(pragma));
  } else if (word == ".shared" || word == ".local") {
    auto declaration = parse_declaration();
    if (declaration.unsized) fail(where, "an array without a size");
    (word == ".shared" ? kernel_->shared : kernel_->local).push_back(std::move(declaration.variable));
  } else {
    fail(where, "unknown directive '" + std::string(word) + "'");
  }
  expect(";");
}

/// .loc file line column [, function_name name, inlined_at file line column]
void Parser::parse_loc() {
  const int where = line();
  const auto take_loc = [&] {
    const auto file = take_number(), line = take_number(), column = take_number();
    return Loc{static_cast<int>(file), static_cast<int>(line), static_cast<int>(column)};
  };
  loc_ = take_loc();
  inlined_at_.erase(*loc_);
  while (take_if(",")) {
    const auto word = take();
    if (word == "function_name") {
      take();
      if (take_if("+")) take_number();
    } else if (word == "inlined_at") {
      inlined_at_[*loc_] = take_loc();
    } else {
      fail(where, "unknown attribute '" + std::string(word) + "' of .loc");
    }
  }
}

/// The innermost line that is not in CUDA's headers, and the one it is inlined at: `tile.cuh:12 (from gemm.cuh:80)`.
std::string Parser::source_place() const {
  static constexpr std::array kToolkit = {".hpp", ".h"};
  if (!loc_) return "";
  std::vector<std::string> lines;
  std::set<Loc> seen;
  for (auto loc = *loc_; seen.insert(loc).second;) {
    const auto file = files_.find(loc.file);
    const auto name = file == files_.end() ? "file " + std::to_string(loc.file) : file->second;
    const auto extension = std::filesystem::path(name).extension();
    const bool toolkit = std::find(kToolkit.begin(), kToolkit.end(), extension) != kToolkit.end();
    const auto outer = inlined_at_.find(loc);
    if (loc.line > 0 && (!toolkit || outer == inlined_at_.end())) lines.push_back(name + ":" + std::to_string(loc.line));
    if (outer == inlined_at_.end()) break;
    loc = outer->second;
  }
  if (lines.empty()) return "";
  return lines.front() + (lines.size() > 1 ? " (from " + lines[1] + ")" : "");
}

/// .reg .b32 %r<12>;  .reg .pred p, q;
void Parser::parse_registers() {
  const int where = line();
  if (!take().starts_with(".")) fail(where, "a register without a type");
  do {
    const std::string name(take());
    const bool range = take_if("<");
    const auto count = range ? take_number() : 1;
    if (range) expect(">");
    if (count > 1'000'000) fail(where, "too many registers");
    for (uint64_t i = 0; i < count; ++i) {
      const auto one = range ? name + std::to_string(i) : name;
      const auto unique = one + "@" + std::to_string(kernel_->registers.size());
      if (!scopes_.back().emplace(one, unique).second) fail(where, "register '" + one + "' twice");
      kernel_->registers.push_back(unique);
    }
  } while (take_if(","));
  expect(";");
}

std::string Parser::register_name(std::string_view name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
    if (const auto found = scope->find(std::string(name)); found != scope->end()) return found->second;
  return "";
}

void Parser::parse_statement() {
  Statement statement;
  statement.line = line();
  if (take_if("@")) {
    statement.guard_negated = take_if("!");
    const auto name = take();
    statement.guard = register_name(name);
    if (statement.guard.empty()) fail(statement.line, "unknown register '" + std::string(name) + "'");
  }
  const auto first = next_;
  auto words = split(take(), '.');
  statement.opcode = words.front();
  statement.modifiers.assign(words.begin() + 1, words.end());
  if (peek() != ";") {
    do statement.operands.push_back(parse_operand());
    while (take_if(","));
  }
  expect(";");
  const auto begin = tokens_[first].text.data();
  std::string text(begin, static_cast<size_t>(tokens_[next_ - 1].text.data() - begin));
  for (auto& c : text)
    if (std::isspace(static_cast<unsigned char>(c))) c = ' ';
  const auto source = source_place();
  statement.place = (source.empty() ? "" : source + ", ") + "PTX line " + std::to_string(statement.line) + ": " + text;
  kernel_->statements.push_back(std::move(statement));
}

Operand Parser::parse_operand() {
  const int where = line();
  if (take_if("{")) return parse_list(Operand::Kind::Vector, "}");
  if (take_if("[")) {
    Operand address{Operand::Kind::Address};
    address.parts.push_back(parse_operand());
    if (take_if("+")) {
      const bool negative = take_if("-");
      address.bits = parse_number(take(), negative).bits;
    }
    expect("]");
    return address;
  }
  if (take_if("!")) {
    auto operand = parse_operand();
    operand.negated = true;
    return operand;
  }
  if (take_if("-")) return parse_number(take(), true);
  const auto word = take();
  if (!is_word(word.front())) fail(where, "unexpected '" + std::string(word) + "'");
  auto operand = parse_word(word);
  if (take_if("|")) return {Operand::Kind::Pair, "", 0, false, {operand, parse_word(take())}};
  return operand;
}

Operand Parser::parse_list(Operand::Kind kind, std::string_view end) {
  Operand list{kind};
  do list.parts.push_back(parse_operand());
  while (take_if(","));
  expect(end);
  return list;
}

Operand Parser::parse_word(std::string_view word) {
  if (std::isdigit(static_cast<unsigned char>(word.front()))) return parse_number(word, false);
  if (auto name = register_name(word); !name.empty()) return {Operand::Kind::Register, std::move(name)};
  return {Operand::Kind::Symbol, std::string(word)};
}

/// 12, 0x1fU, 0f3F800000 (bits of a float), 0d3FF0000000000000 (of a double).
Operand Parser::parse_number(std::string_view word, bool negative) {
  const std::string text(word);
  const bool is_float = text.starts_with("0f") || text.starts_with("0F") || text.starts_with("0d") || text.starts_with("0D");
  const bool is_double = is_float && std::tolower(text[1]) == 'd';
  try {
    size_t used = 0;
    auto bits = is_float ? std::stoull(text.substr(2), &used, 16) : std::stoull(text, &used, 0);
    used += is_float ? 2 : 0;
    if (!is_float && used + 1 == text.size() && text.back() == 'U') ++used;
    if (used == text.size() && (!is_float || (!negative && text.size() == (is_double ? 18u : 10u))))
      return {is_float ? Operand::Kind::Float : Operand::Kind::Integer, "", negative ? 0 - bits : bits};
  } catch (const std::exception&) {  // reported below
  }
  fail(tokens_[next_ - 1].line, "'" + text + "' is not a number");
}

}  // namespace

ModuleText parse(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  try {
    return Parser({std::istreambuf_iterator<char>(file), {}}).parse();
  } catch (const std::exception& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

}  // namespace emulator::ptx
