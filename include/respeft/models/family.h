#pragma once

#include <memory>
#include <string>
#include <vector>

#include <respeft/models/model.h>

namespace respeft::models {

class WeightMap;
class ExportSources;

/// A family of architectures: their names, how to build them, the names of their weights in other libraries, and how to export
/// them. Register a new family in `src/models/registry.cpp`.
class ModelFamily {
 public:
  virtual ~ModelFamily();

  virtual std::string name() const = 0;
  /// The names of the published architectures.
  virtual std::vector<std::string> list() const = 0;
  /// True if `create` accepts this architecture name (without a tag).
  virtual bool knows(const std::string& architecture) const = 0;
  /// Throws `std::invalid_argument` on a name or an option that the family does not have.
  virtual std::shared_ptr<Model> create(const std::string& name, const ModelOptions& options) const = 0;

  // For a model of this family:
  /// A model with the same architecture and options, with random weights, on the CPU.
  virtual std::shared_ptr<Model> like(const Model& model) const = 0;
  /// The options that `create` needs, besides the name, to make such a model.
  virtual ModelOptions options(const Model& model) const = 0;

  virtual const WeightMap& weights() const = 0;
  virtual const ExportSources& exports() const = 0;
};

/// Every family, in the order of lookup.
const std::vector<const ModelFamily*>& families();

/// The family that knows this architecture (a tag after a dot is ignored); null if there is none.
const ModelFamily* family_of(const std::string& name);

}  // namespace respeft::models
