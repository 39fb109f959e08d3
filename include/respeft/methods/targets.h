#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <respeft/nn/site.h>

namespace respeft::methods {

/// Which sites, and which projections fused in them, a method adapts.
///
/// Written as a comma-separated list of: a projection or a layer by its own name (`q`, `k`, `v`, `qkv`, `proj`, `fc1`,
/// `norm1`, …), `o` (the attention's output projection, `proj`), or a kind: `linears`, `convolutions`, `embeddings`, `norms`,
/// `patch`, `all`. Branches and tokens are no targets.
/// Blocks are written `0-5,11`; empty means every block and what lies outside the blocks.
class Targets {
 public:
  Targets(const std::string& names, const std::string& blocks);

  /// The indices of the site's parts that are chosen; empty when the site is not.
  std::vector<int64_t> select(const nn::SiteInfo& site) const;
  /// Whether the list names the site's fused weight itself (`qkv`), to be adapted as one and not projection by projection.
  bool names_whole(const nn::SiteInfo& site) const;
  /// Throws `std::invalid_argument` naming the entry that matches none of `sites`, with the names that would.
  void check(const std::vector<nn::NamedSite>& sites) const;
  /// Throws `std::invalid_argument` naming the first chosen linear whose rank cannot be as high as `rank`: a projection of
  /// it has fewer rows or columns.
  void check_rank(const std::string& method, int64_t rank, const std::vector<nn::NamedSite>& sites) const;

 private:
  bool matches(const std::string& entry, const nn::SiteInfo& site, const std::string& part) const;

  std::vector<std::string> names_;
  std::set<int64_t> blocks_;
};

/// `0-5,11` as numbers; none for an empty text. Throws `std::invalid_argument` on anything else.
std::set<int64_t> parse_blocks(const std::string& blocks);
/// Throws `std::invalid_argument` naming a block that none of `sites` is in.
void check_blocks(const std::set<int64_t>& wanted, const std::vector<nn::NamedSite>& sites);

}  // namespace respeft::methods
