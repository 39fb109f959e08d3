#include <respeft/methods/targets.h>

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::methods {
namespace {

int64_t parse_block(const std::string& text, const std::string& blocks) {
  if (text.empty() || text.size() > 6 || text.find_first_not_of("0123456789") != std::string::npos) {
    throw std::invalid_argument(fmt::format("blocks '{}': expected numbers and ranges such as 0-5,11", blocks));
  }
  return std::stoll(text);
}

/// The word for all layers of a kind.
const char* group_of(nn::SiteKind kind) {
  switch (kind) {
    case nn::SiteKind::Linear:
      return "linears";
    case nn::SiteKind::Convolution:
      return "convolutions";
    case nn::SiteKind::Norm:
      return "norms";
    case nn::SiteKind::Embedding:
      return "embeddings";
    default:
      return nn::to_string(kind);
  }
}

}  // namespace

Targets::Targets(const std::string& names, const std::string& blocks)
    : names_(text::split(names, ',')), blocks_(parse_blocks(blocks)) {
  if (names_.empty()) throw std::invalid_argument("targets: expected at least one, such as q,v,fc1 or all");
}

bool Targets::matches(const std::string& entry, const nn::SiteInfo& site, const std::string& part) const {
  if (entry == "all" || entry == part || entry == site.role || entry == group_of(site.kind)) return true;
  return entry == "o" && site.kind == nn::SiteKind::Linear && site.role == "proj";
}

std::vector<int64_t> Targets::select(const nn::SiteInfo& site) const {
  std::vector<int64_t> chosen;
  if (!nn::has_weight(site.kind) || (!blocks_.empty() && blocks_.count(site.block) == 0)) return chosen;
  for (size_t part = 0; part < site.parts.size(); ++part) {
    const auto selects = [&](const std::string& entry) { return matches(entry, site, site.parts[part]); };
    if (std::any_of(names_.begin(), names_.end(), selects)) chosen.push_back(static_cast<int64_t>(part));
  }
  return chosen;
}

bool Targets::names_whole(const nn::SiteInfo& site) const {
  return std::find(names_.begin(), names_.end(), site.role) != names_.end();
}

void Targets::check(const std::vector<nn::NamedSite>& sites) const {
  std::set<std::string> known = {"all"};
  for (const auto& [info, site] : sites) {
    if (!nn::has_weight(info.kind)) continue;
    known.insert(info.role);
    known.insert(info.parts.begin(), info.parts.end());
    known.insert(group_of(info.kind));
    if (info.kind == nn::SiteKind::Linear && info.role == "proj") known.insert("o");
  }
  for (const auto& entry : names_) {
    if (known.count(entry) == 0) throw std::invalid_argument(text::unknown("target", entry, {known.begin(), known.end()}));
  }
  check_blocks(blocks_, sites);
}

std::set<int64_t> parse_blocks(const std::string& blocks) {
  std::set<int64_t> chosen;
  for (const auto& entry : text::split(blocks, ',')) {
    const auto dash = entry.find('-');
    const int64_t first = parse_block(entry.substr(0, dash), blocks);
    const int64_t last = dash == std::string::npos ? first : parse_block(entry.substr(dash + 1), blocks);
    if (last < first) throw std::invalid_argument(fmt::format("blocks '{}': the range {} runs backwards", blocks, entry));
    for (int64_t block = first; block <= last; ++block) chosen.insert(block);
  }
  return chosen;
}

void check_blocks(const std::set<int64_t>& wanted, const std::vector<nn::NamedSite>& sites) {
  std::set<int64_t> blocks;
  for (const auto& [info, site] : sites) blocks.insert(info.block);
  for (const int64_t block : wanted) {
    if (blocks.count(block) != 0) continue;
    throw std::invalid_argument(blocks.empty() || *blocks.rbegin() < 0
                                    ? fmt::format("blocks: the model has no blocks, and {} is asked for", block)
                                    : fmt::format("blocks: the model has no block {}; its last is {}", block, *blocks.rbegin()));
  }
}

void Targets::check_rank(const std::string& method, int64_t rank, const std::vector<nn::NamedSite>& sites) const {
  for (const auto& [info, site] : sites) {
    if (info.kind != nn::SiteKind::Linear || select(info).empty()) continue;
    const int64_t rows = names_whole(info) ? info.out_features : info.part_features();
    if (rank <= std::min(rows, info.in_features)) continue;
    throw std::invalid_argument(fmt::format("{}: rank: must be at most {}, not {}: '{}' has {} with {} inputs and {} outputs",
                                            method, std::min(rows, info.in_features), rank, info.name,
                                            rows == info.out_features ? "a weight" : "projections", info.in_features, rows));
  }
}

}  // namespace respeft::methods
