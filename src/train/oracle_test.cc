// The whole step against numbers of an independent implementation: tests/data/train/README.md says which.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/file.h"
#include "model/safetensors.h"
#include "train/trainer.h"

namespace hadal::train {
namespace {

using Json = nlohmann::json;

template <typename T>
T Must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

/// One file of expected numbers: configuration, options, tensors as doubles.
class Expected {
 public:
  explicit Expected(const std::string& name) {
    const Path base = Path(HADAL_TEST_DATA) / "train";
    json_ = Json::parse(Must(ReadFile(base / (name + ".json"))));
    data_ = Must(ReadFile(base / (name + ".safetensors")));
    const auto bytes = std::as_bytes(std::span(data_));
    header_ = Must(ParseSafetensorsHeader(bytes, bytes.size()));
  }

  ModelConfig Config() const { return Must(ParseConfig(json_["config"].dump(), "config")); }

  TrainerOptions Options(Compute compute) const {
    const Json& j = json_["options"];
    TrainerOptions o;
    o.sequence_length = j["sequence_length"];
    o.micro_batch_size = j["micro_batch_size"];
    o.accumulation_steps = j["accumulation_steps"];
    o.compute = compute;
    o.adam = {.beta1 = j["beta1"],
              .beta2 = j["beta2"],
              .epsilon = j["epsilon"],
              .weight_decay = j["weight_decay"],
              .clip_norm = j["clip_norm"]};
    o.rate = {.peak = j["peak"], .final_share = j["final_share"], .warmup_steps = j["warmup_steps"],
              .total_steps = j["total_steps"]};
    o.mtp_weight = j["mtp_weight"];
    o.balance_weight = j["balance_weight"];
    o.bias_update = j["bias_update"];
    return o;
  }

  std::vector<double> Tensor(const std::string& name) const {
    for (const TensorInfo& t : header_.tensors) {
      if (t.name != name) continue;
      const char* at = data_.data() + t.offset;
      if (t.dtype == DType::kF64) return Read<double>(at, t.bytes);
      if (t.dtype == DType::kI32) return Read<int32_t>(at, t.bytes);
      return Read<float>(at, t.bytes);
    }
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }

  /// The micro-batches of an update, from "batches" [updates, micro-batches, (tokens, starts, learn), rows].
  std::vector<MicroBatch> Batches(const TrainerOptions& o, int64_t step) const {
    const std::vector<double> all = Tensor("batches");
    const int64_t rows = o.micro_batch_rows();
    std::vector<MicroBatch> batches;
    for (int64_t i = 0; i < o.accumulation_steps; ++i) {
      const double* at = all.data() + (step * o.accumulation_steps + i) * 3 * rows;
      batches.push_back(
          MakeMicroBatch(std::vector<int32_t>(at, at + rows), std::vector<uint8_t>(at + rows, at + 2 * rows),
                         std::vector<uint8_t>(at + 2 * rows, at + 3 * rows), o.sequence_length));
    }
    return batches;
  }

 private:
  template <typename T>
  static std::vector<double> Read(const char* at, uint64_t bytes) {
    std::vector<T> values(bytes / sizeof(T));
    std::memcpy(values.data(), at, bytes);
    return {values.begin(), values.end()};
  }

  Json json_;
  std::string data_;
  SafetensorsHeader header_;
};

/// |a - b| / |b|; where b is nothing but zeros, a must be too.
template <typename T>
double Distance(const T* a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    difference += d * d;
    norm += b[i] * b[i];
  }
  if (norm == 0) return difference == 0 ? 0 : INFINITY;
  return std::sqrt(difference / norm);
}

/// Largest relative differences that are let pass.
struct Bounds {
  double losses, gradients, parameters;
};

// Reached: 1e-14. Order of sums differs, nothing else.
constexpr Bounds kDouble{1e-12, 1e-12, 1e-12};
// Reached: losses 6e-7, gradients 4e-6, parameters 8e-7.
constexpr Bounds kFloat{1e-5, 5e-5, 1e-5};

/// Three updates; losses of all, gradients of the first, parameters after the last.
template <typename T>
void Check(const std::string& name, Compute compute, Checkpointing mode, int threads, const Bounds& bounds) {
  SCOPED_TRACE(name);
  const Expected expected(name);
  const ModelConfig config = expected.Config();
  TrainerOptions options = expected.Options(compute);
  options.checkpointing = mode;
  LoopbackCommunicator world;
  ThreadPool pool(threads);
  const auto mesh = Must(ProcessMesh::Create(world, {}));
  const auto trainer = Must(Trainer<T>::Create(config, *mesh, pool, options));
  ParameterSet<T>& params = trainer->params();
  const auto load = [](const std::vector<double>& from, T* to) {
    for (const double x : from) *to++ = static_cast<T>(x);
  };
  for (size_t i = 0; i < params.shards().size(); ++i) {
    const std::vector<double> values = expected.Tensor("param." + params.shards()[i].name);
    ASSERT_EQ(static_cast<int64_t>(values.size()), params.shards()[i].elements()) << params.shards()[i].name;
    load(values, params.parameter(i).value.data);
  }
  for (auto& bias : params.biases())
    load(expected.Tensor(fmt::format("bias.{}", bias.layer)), bias.values.data());

  // [updates, (main, prediction layer's, balance, norm of the gradient, learning rate)]
  const std::vector<double> losses = expected.Tensor("losses");
  const auto updates = static_cast<int64_t>(losses.size() / 5);
  double worst_loss = 0, worst_gradient = 0, worst_parameter = 0;
  for (int64_t step = 0; step < updates; ++step) {
    const StepReport r = Must(trainer->Step(expected.Batches(options, step)));
    const double got[5] = {r.loss, r.mtp_loss, r.balance_loss, r.gradient_norm, r.learning_rate};
    for (int64_t i = 0; i < 5; ++i) {
      const double want = losses[static_cast<size_t>(step * 5 + i)];
      const double off = std::abs(got[i] - want) / (want == 0 ? 1 : want);
      EXPECT_LE(off, bounds.losses) << "number " << i << " of update " << step << ": " << got[i] << " for "
                                    << want;
      worst_loss = std::max(worst_loss, off);
    }
    for (size_t i = 0; step == 0 && i < params.shards().size(); ++i) {
      const std::string& tensor = params.shards()[i].name;
      const double off = Distance(params.parameter(i).grad.data, expected.Tensor("grad." + tensor));
      EXPECT_LE(off, bounds.gradients) << "gradient of " << tensor;
      worst_gradient = std::max(worst_gradient, off);
    }
  }
  for (size_t i = 0; i < params.shards().size(); ++i) {
    const std::string& tensor = params.shards()[i].name;
    const double off = Distance(params.parameter(i).value.data, expected.Tensor("after." + tensor));
    EXPECT_LE(off, bounds.parameters) << tensor << " after " << updates << " updates";
    worst_parameter = std::max(worst_parameter, off);
  }
  for (const auto& bias : params.biases())
    EXPECT_LE(Distance(bias.values.data(), expected.Tensor(fmt::format("bias_after.{}", bias.layer))),
              bounds.losses) << "router bias of layer " << bias.layer;
  const auto record = [&](const char* what, double value) {
    testing::Test::RecordProperty(name + " " + what, fmt::format("{:.1e}", value));
  };
  record("losses", worst_loss);
  record("gradients", worst_gradient);
  record("parameters", worst_parameter);
}

const char* const kCases[] = {"v3-yarn-mtp", "v2-softmax", "tied-capacity"};

TEST(Oracle, DoublesAreThoseOfAnIndependentImplementation) {
  for (const char* name : kCases)
    Check<double>(name, Compute::kF64, Checkpointing::kNone, 1, kDouble);
}

TEST(Oracle, WhateverIsComputedAgain) {
  for (const char* name : kCases) {
    Check<double>(name, Compute::kF64, Checkpointing::kSelective, 2, kDouble);
    Check<double>(name, Compute::kF64, Checkpointing::kFull, 3, kDouble);
  }
}

TEST(Oracle, FloatsAreNearThem) {
  for (const char* name : kCases)
    Check<float>(name, Compute::kF32, Checkpointing::kNone, 2, kFloat);
}

}  // namespace
}  // namespace hadal::train
