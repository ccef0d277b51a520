// The scorer of an ablation: made when it is first needed, because that may train a network.
#pragma once

#include "core/base/json.hpp"
#include "core/evaluation/scores.hpp"
#include "core/run/opened_data.hpp"
#include "core/run/workspace.hpp"

namespace sdpipe {

class Scoring {
 public:
  // `folder` keeps the network. `id` and `facts` are what facts() and feature_id() said last, or empty: that id is
  // taken where data, labels and the stored network are still those that it had. `flip` is [data]'s.
  Scoring(Workspace& workspace, const OpenedData& data, bool flip, std::filesystem::path folder, const std::string& id,
          const Json& facts);

  // Both throw what Scorer's constructor throws.
  const std::string& feature_id();
  const Scorer& scorer();

  // The id, and what it follows from.
  Json facts() { return facts(feature_id()); }

 private:
  Json facts(const std::string& id) const;

  Workspace& workspace_;
  const OpenedData& data_;
  bool flip_;
  std::filesystem::path folder_;
  std::string id_;
  std::unique_ptr<Scorer> scorer_;
};

}  // namespace sdpipe
