#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <respeft/nn/site.h>

namespace respeft::methods {

/// The sites, and the projections fused in them, that a method adapts.
///
/// Targets are a comma-separated list of projections or layers by name (`q`, `k`, `v`, `qkv`, `proj`, `fc1`, `norm1`, …), `o`
/// (the attention's output projection, `proj`), and kinds: `linears`, `convolutions`, `embeddings`, `norms`, `patch`, `all`.
/// Branches and tokens cannot be targets. Blocks are written `0-5,11`; empty means everything, including sites outside the
/// blocks.
class Targets {
 public:
  Targets(const std::string& names, const std::string& blocks);

  /// The indices of the chosen parts of the site; empty if the site is not adapted.
  std::vector<int64_t> select(const nn::SiteInfo& site) const;
  /// True if the list names the site's fused weight itself (`qkv`), to adapt it as one instead of by projection.
  bool names_whole(const nn::SiteInfo& site) const;
  /// Throws `std::invalid_argument` that names an entry matching none of `sites`, and the names that would match.
  void check(const std::vector<nn::NamedSite>& sites) const;
  /// Throws `std::invalid_argument` that names the first chosen linear layer with a projection of fewer than `rank` rows or
  /// columns.
  void check_rank(const std::string& method, int64_t rank, const std::vector<nn::NamedSite>& sites) const;

 private:
  bool matches(const std::string& entry, const nn::SiteInfo& site, const std::string& part) const;

  std::vector<std::string> names_;
  std::set<int64_t> blocks_;
};

/// Parses `0-5,11`; an empty text gives no numbers. Throws `std::invalid_argument` on anything else.
std::set<int64_t> parse_blocks(const std::string& blocks);
/// Throws `std::invalid_argument` that names a block without any of `sites`.
void check_blocks(const std::set<int64_t>& wanted, const std::vector<nn::NamedSite>& sites);

}  // namespace respeft::methods
