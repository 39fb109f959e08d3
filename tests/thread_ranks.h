#pragma once

#include <ATen/ATen.h>

#include <barrier>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include <respeft/core/ranks.h>

namespace respeft::test {

/// What the ranks of one group share.
struct RankGroup {
  explicit RankGroup(int64_t ranks) : size(ranks), meeting(ranks), given(static_cast<size_t>(ranks)) {}
  int64_t size;
  std::barrier<> meeting;
  std::vector<at::Tensor> given;
};

/// A rank that is a thread of this process.
class ThreadRanks : public Ranks {
 public:
  ThreadRanks(RankGroup& group, int64_t rank) : group_(group), rank_(rank) {}

  using Ranks::all_reduce_sum;
  using Ranks::broadcast;
  int64_t rank() const override { return rank_; }
  int64_t size() const override { return group_.size; }
  void all_reduce_sum(at::Tensor& flat) override {
    exchange(flat, [&] {
      at::Tensor sum = at::zeros_like(flat);
      for (const auto& tensor : group_.given) sum.add_(tensor);
      return sum;
    });
  }
  void broadcast(at::Tensor& flat) override {
    exchange(flat, [&] { return group_.given[0].clone(); });
  }
  void barrier() override { group_.meeting.arrive_and_wait(); }

 private:
  void exchange(at::Tensor& flat, const std::function<at::Tensor()>& result) {
    group_.given[static_cast<size_t>(rank_)] = flat.clone();
    barrier();
    const at::Tensor all = result();
    barrier();
    flat.copy_(all);
  }

  RankGroup& group_;
  int64_t rank_;
};

/// Calls `work` on every rank, each in a thread of its own, and throws the first rank's exception if there is one.
inline void on_ranks(int64_t ranks, const std::function<void(Ranks&)>& work) {
  RankGroup group(ranks);
  std::vector<std::exception_ptr> errors(static_cast<size_t>(ranks));
  {
    std::vector<std::jthread> threads;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        ThreadRanks own(group, rank);
        try {
          work(own);
        } catch (...) {
          errors[static_cast<size_t>(rank)] = std::current_exception();
        }
      });
    }
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace respeft::test
