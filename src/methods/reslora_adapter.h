#pragma once

#include <respeft/methods/reslora.h>

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "src/methods/low_rank.h"

namespace respeft::reslora {

/// The layers of one chain, in order: the pairs of each, one for each projection.
struct Chain {
  std::vector<std::vector<std::shared_ptr<methods::LowRankPair>>> layers;
};

/// What a plain layer can have in place of what a projection takes from earlier layers: `x downᵀ + offset`.
struct Prediction {
  at::Tensor down;    ///< `[r, in]`
  at::Tensor offset;  ///< `[r]`; undefined: none
};

/// How long the windows are that an adapter keeps of its inputs while training (the paper's default).
constexpr int64_t kWindow = 100;

class ResLoraAdapter;

/// Put into a forward pass, it sees what every projection of every layer reads and takes.
struct Recorder {
  /// (layer, projections asked for, input `[..., in]`, what they take from earlier layers, side by side `[..., projections · r]`)
  std::function<void(const ResLoraAdapter&, const std::vector<size_t>&, const at::Tensor&, const at::Tensor&)> see;
};

/// Put into a forward pass, it makes the layers compute what they would if merged with these predictions.
struct Preview {
  std::map<const ResLoraAdapter*, std::vector<Prediction>> predictions;  ///< one for each projection
};

/// One layer of a chain. The base class knows the chain and the pass; what a shortcut takes and passes on is its kind's.
class ResLoraAdapter : public methods::LowRankAdapter {
 public:
  ResLoraAdapter(Shortcut shortcut, const nn::SiteInfo& info, const nn::WeightSite& site, const std::vector<int64_t>& chosen,
                 bool whole, const ResLoraOptions& options, std::shared_ptr<Chain> chain);

  /// The exact fold; nothing where there is none.
  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override;
  /// W + s B (A + down), b + s B offset, for every projection.
  nn::Fold fold(const at::Tensor& weight, const at::Tensor& bias, const std::vector<Prediction>& predictions) const;
  /// The predictions that are right whatever the input is; none when there are no such.
  virtual std::optional<std::vector<Prediction>> exact() const = 0;
  Shortcut shortcut() const { return shortcut_; }

  const std::string& site_name() const { return name_; }
  const Chain& chain() const { return *chain_; }
  size_t position() const { return position_; }
  bool last() const { return position_ + 1 == chain_->layers.size(); }
  /// The first layer that a shortcut reaches from here.
  size_t reach() const;
  const methods::LowRankPair& pair(size_t layer, size_t projection) const { return *chain_->layers[layer][projection]; }
  using LowRankAdapter::scaling;

  /// Means over the windows that training filled: the root mean square length of a token of what a projection reads, and of
  /// its own middle `x Aᵀ`. 0 before the first step, when there are none.
  bool has_lengths(size_t projection) const { return recorded_[static_cast<int64_t>(projection)].item<double>() > 0.0; }
  double input_length(size_t projection) const { return mean_length(input_lengths_, projection); }
  double middle_length(size_t projection) const { return mean_length(middle_lengths_, projection); }

 protected:
  /// What a projection carries to the next layer of its chain.
  struct Carried {
    int64_t position = -1;       ///< of the layer that ran last
    at::Tensor sum;              ///< `[..., r]`: what the next layer adds to its middle; undefined when there is nothing
    std::deque<at::Tensor> own;  ///< of a middle shortcut that is limited: the middles in `sum`, oldest first
  };
  struct State {
    std::vector<Carried> projections;
  };
  Carried& carried(nn::ForwardPass& pass, size_t projection) const;

  /// How many earlier layers a layer takes from; negative: all.
  int64_t window() const { return pre_num_; }
  /// The rows of a layer's B that are asked for.
  at::Tensor up(size_t layer, const methods::Asked& one) const {
    return pair(layer, one.index).lora_B.narrow(0, one.skip, one.rows);
  }
  /// What the projections asked for take from earlier layers, side by side; none for a chain's first layer.
  std::optional<at::Tensor> taken(const std::vector<methods::Asked>& chosen, nn::ForwardPass& pass) const;
  /// The layer with these rows of `down`: (output, middle).
  std::tuple<at::Tensor, at::Tensor> compute(const at::Tensor& x, const nn::Base& base, const std::vector<methods::Asked>& chosen,
                                             const at::Tensor& downs, const std::optional<at::Tensor>& previous) const;
  /// The output of the layer merged with the predictions of `preview`.
  at::Tensor merged(const at::Tensor& x, const nn::Base& base, const std::vector<methods::Asked>& chosen,
                    const Preview& preview) const;
  /// Adds the lengths of one batch to the windows, while training.
  void record_lengths(const at::Tensor& x, const std::vector<methods::Asked>& chosen, const at::Tensor& middle,
                      const std::optional<at::Tensor>& previous);

 private:
  Shortcut shortcut_;
  std::string name_;
  int64_t pre_num_;
  std::shared_ptr<Chain> chain_;
  size_t position_;
  double mean_length(const at::Tensor& lengths, size_t projection) const;

  // Buffers of input and middle shortcuts, saved with the adapter: `[projections, kWindow]`, `[projections, kWindow]`, and how
  // many were recorded,
  // `[projections]`.
  at::Tensor input_lengths_, middle_lengths_, recorded_;
  std::mutex recording_;
};

std::shared_ptr<ResLoraAdapter> make_adapter(Shortcut shortcut, const nn::SiteInfo& info, const nn::WeightSite& site,
                                             const std::vector<int64_t>& chosen, bool whole, const ResLoraOptions& options,
                                             std::shared_ptr<Chain> chain);

}  // namespace respeft::reslora
