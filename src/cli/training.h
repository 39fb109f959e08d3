#pragma once

#include <memory>
#include <string>

#include <respeft/runs/experiment.h>
#include <respeft/runs/run.h>
#include <respeft/train/trainer.h>

#include "src/cli/output.h"

namespace respeft::cli {

/// Shows on stderr what training does.
class Watcher : public train::Observer {
 public:
  void note(const std::string& line) override;
  void progress(const train::WorkProgress& work) override;
  void epoch(const train::EpochRecord& record, int64_t total) override;

 private:
  std::unique_ptr<Progress> progress_;
  std::string what_;
};

/// A metric's value: an accuracy as `84.93 %`, another as a number; with a deviation over several runs `84.93 ± 0.21 %`.
std::string score_text(const std::string& name, double value, std::optional<double> deviation = std::nullopt);

/// The figures of one run, or of an experiment's, for people.
void print_summary(const runs::Summary& summary);
void print_experiment(const runs::Experiment& experiment);

}  // namespace respeft::cli
