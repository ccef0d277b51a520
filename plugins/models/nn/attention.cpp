#include "plugins/models/nn/attention.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include <cmath>

#include "plugins/models/nn/checkpoint.hpp"

namespace sdpipe::nn {

namespace {

bool fused_is_faster(const at::Tensor& q) {
  constexpr int64_t wide = 64, many_positions = 2048;  // their weights would fill memory
  if (!q.device().is_cpu() || q.size(2) > many_positions) return true;
  return q.scalar_type() == at::kFloat && (q.size(3) <= wide || !differentiated());
}

}  // namespace

at::Tensor attention(const FastPaths& fast, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (fast.fused_attention && fused_is_faster(q)) return at::scaled_dot_product_attention(q, k, v);
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  return at::matmul(at::softmax(at::matmul(q, k.transpose(-1, -2) * scale), -1), v);
}

at::Tensor heads_of_map(const at::Tensor& map, int64_t heads) {
  return map.flatten(2).transpose(1, 2).unflatten(2, {heads, map.size(1) / heads}).transpose(1, 2);
}

at::Tensor map_of_heads(const at::Tensor& heads, int64_t height) {
  return heads.transpose(1, 2).flatten(2).transpose(1, 2).unflatten(2, {height, heads.size(2) / height});
}

}  // namespace sdpipe::nn
