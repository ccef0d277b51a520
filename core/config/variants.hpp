// [[variant]] and [[ablate]] of a document; see core/config/experiment.hpp.
#pragma once

#include "core/config/document.hpp"
#include "core/config/experiment.hpp"

namespace sdpipe {

// `[[name]]`: the tables of a list, with a problem where it is none or has other elements; empty where it is absent.
std::vector<const Table*> list_of_tables(const Document& document, std::string_view name,
                                         std::vector<Problem>& problems);

// Every variant over the document's own tables, which gave `base`. What is wrong with the base alone is not said again.
std::vector<Variant> check_variants(const Document& document, const Pipeline& base, const std::filesystem::path& file,
                                    const Registry& registry, std::vector<Problem>& problems);

std::vector<AblationGrid> check_ablations(const Document& document, const Experiment& experiment,
                                          const std::filesystem::path& file, const Registry& registry,
                                          std::vector<Problem>& problems);

}  // namespace sdpipe
