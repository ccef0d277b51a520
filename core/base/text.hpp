// Words for messages.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sdpipe {

// The candidate that a mistyped word was probably meant to be: the smallest edit distance (insert, delete, replace,
// swap of neighbours), at most a third of the word's length (but 1 is always
// allowed) and never more than 3. First of equals.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

// `; did you mean "std_max"?` or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

std::string join(const std::vector<std::string>& words, std::string_view separator = ", ");

}  // namespace sdpipe
