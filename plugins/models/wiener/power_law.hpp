// Gaussian data like natural images: variances that fall with frequency, p_ij = amplitude (1 + i^2 + j^2)^-exponent.
#pragma once

#include <cmath>
#include <vector>

#include "core/abi/plugin.hpp"
#include "plugins/models/wiener/basis.hpp"

namespace sdpipe::wiener {

// p_ij of every channel of a (channel, height, width) sample.
inline std::vector<double> power_law(const sdp::Shape& shape, double amplitude, double exponent) {
  std::vector<double> p;
  for (int64_t c = 0; c < shape[0]; ++c) {
    for (int64_t i = 0; i < shape[1]; ++i) {
      for (int64_t j = 0; j < shape[2]; ++j) {
        p.push_back(amplitude * std::pow(1.0 + static_cast<double>(i * i + j * j), -exponent));
      }
    }
  }
  return p;
}

// D^T diag(power) D, column by column.
inline std::vector<double> covariance_of(const sdp::Shape& shape, const std::vector<double>& power) {
  Basis dct(shape[1], shape[2], true);
  std::vector<double> covariance;
  for (size_t j = 0; j < power.size(); ++j) {
    std::vector<double> column(power.size());
    column[j] = 1;
    dct.forward(column);
    for (size_t k = 0; k < power.size(); ++k) column[k] *= power[k];
    dct.inverse(column);
    covariance.insert(covariance.end(), column.begin(), column.end());
  }
  return covariance;
}

}  // namespace sdpipe::wiener
