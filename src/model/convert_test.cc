#include "model/convert.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>

#include "model/convert_plan.h"
#include "model/odd_folder_test_util.h"
#include "model/parameters.h"
#include "model/safetensors_test_util.h"
#include "model/synth.h"
#include "model/tensor_names.h"
#include "model/weight_test_util.h"
#include "model/weights.h"

namespace hadal {
namespace {

const Path kGolden = Path(HADAL_TEST_DATA) / "golden";

struct Model {
  explicit Model(const Path& dir)
      : config(LoadConfig(dir).value()), checkpoint(Checkpoint::Open(dir).value()) {}
  double Weight(const TensorSpec& spec, int64_t row, int64_t col) const {
    if (spec.shape.size() == 1) return StoredElement(*checkpoint, spec.name, col);
    return StoredWeight(*checkpoint, config.quantization, spec.name.substr(0, spec.name.size() - 7),
                        spec.shape[1], row, col);
  }
  std::vector<std::byte> Bytes(const std::string& name) const {
    const TensorInfo* tensor = checkpoint->Find(name);
    if (!tensor) {
      ADD_FAILURE() << "no tensor " << name;
      return {};
    }
    std::vector<std::byte> scratch;
    const auto bytes = checkpoint->Read(*tensor, 0, tensor->bytes, scratch).value();
    return {bytes.begin(), bytes.end()};
  }
  ModelConfig config;
  std::unique_ptr<Checkpoint> checkpoint;
};

class ConvertTest : public TempFolderTest {
 protected:
  Path Convertible(const char* weights = "bf16") const {
    const Path dir = folder_ / fmt::format("source-{}", weights);
    SynthOptions options;
    options.shape = "v3-tiny";
    options.weights = weights;
    options.out = dir;
    ThreadPool pool(2);
    const Status status = Synthesize(options, pool);
    EXPECT_TRUE(status.has_value()) << status.error().message;
    return dir;
  }
  Status Run(const Path& in, const Path& out, const char* weights, int64_t group = 32,
             int threads = 2) const {
    ConvertOptions options;
    options.in = in;
    options.out = out;
    options.weights = weights;
    options.group = group;
    ThreadPool pool(threads);
    return Convert(options, pool);
  }
  Path Converted(const Path& in, const char* weights, int64_t group = 32) const {
    const Path out = folder_ / fmt::format("out-{}-{}-{}", in.filename().string(), weights, group);
    const Status status = Run(in, out, weights, group);
    EXPECT_TRUE(status.has_value()) << status.error().message;
    return out;
  }
};

void ExpectSameTensors(const Model& a, const Model& b) {
  ASSERT_EQ(a.checkpoint->tensors().size(), b.checkpoint->tensors().size());
  for (const TensorInfo& tensor : a.checkpoint->tensors()) {
    EXPECT_EQ(a.Bytes(tensor.name), b.Bytes(tensor.name)) << tensor.name;
    EXPECT_EQ(b.checkpoint->Find(tensor.name)->dtype, tensor.dtype) << tensor.name;
  }
}

/// That every weight of `to` is within what its format can do of `from`'s. A code is off by half a step at
/// most, and the scale of an integer group, rounded to bf16, by 2^-9 of the largest value.
void ExpectClose(const Model& from, const Model& to) {
  const QuantizationConfig& q = to.config.quantization;
  for (const TensorSpec& spec : ExpectedTensors(to.config)) {
    const int64_t rows = spec.shape.size() == 2 ? spec.shape[0] : 1, cols = spec.shape.back();
    for (int64_t row = 0; row < rows; row += 31) {  // a sample: reading element by element is slow
      double group_max = 0;
      for (int64_t col = 0; col < cols; ++col) {
        const double x = from.Weight(spec, row, col), y = to.Weight(spec, row, col);
        // bf16; what is no Linear is copied.
        double bound = spec.kind == TensorKind::kLinear ? std::fabs(x) * 0x1p-8 : 0;
        if (spec.kind == TensorKind::kLinear && q.method == QuantizationConfig::Method::kFp8) {
          const double scale = StoredElement(*to.checkpoint, spec.name + "_scale_inv",
                                             row / 128 * ((cols + 127) / 128) + col / 128);
          bound =
              std::max(std::fabs(x) * 0x1.01p-4, 0x1.01p-10 * scale);  // three bits of mantissa; denormals
        } else if (spec.kind == TensorKind::kLinear && q.bits > 0) {
          if (col % q.group_size == 0) {
            group_max = 0;
            for (int64_t k = col; k < col + q.group_size; ++k)
              group_max = std::max(group_max, std::fabs(from.Weight(spec, row, k)));
          }
          const double step = group_max / ((1 << (q.bits - 1)) - 1);
          bound = 0.5 * step * 1.01 + group_max * 0x1p-8;
        }
        ASSERT_LE(std::fabs(x - y), bound)
            << spec.name << " row " << row << " col " << col << ": " << x << ", " << y;
      }
    }
  }
}

void ExpectLoads(const Model& model) {
  ThreadPool pool(2);
  const auto loaded = LoadWeights(model.config, *model.checkpoint, {}, pool);
  EXPECT_TRUE(loaded) << loaded.error().message;
}

TEST_F(ConvertTest, AnyFormatToAnyOther) {
  const Path sources[] = {Convertible("bf16"), Convertible("fp8"), Convertible("int8"), Convertible("int4")};
  for (const Path& source : sources) {
    const Model from(source);
    for (const char* weights : {"bf16", "fp8", "int8", "int4"}) {
      SCOPED_TRACE(source.filename().string() + " to " + weights);
      const Model to(Converted(source, weights));
      EXPECT_EQ(to.checkpoint->TotalBytes(), static_cast<uint64_t>(CountStored(to.config).bytes));
      ExpectClose(from, to);
      ExpectLoads(to);
      if (source.filename().string() == fmt::format("source-{}", weights)) ExpectSameTensors(from, to);
    }
  }
}

TEST_F(ConvertTest, PublishedLayouts) {
  const Model f32(kGolden / "v3-tiny-f32");
  const Model bf16(Converted(kGolden / "v3-tiny-f32", "bf16"));
  ExpectClose(f32, bf16);
  EXPECT_EQ(bf16.checkpoint->Find("model.layers.0.self_attn.o_proj.weight")->dtype, DType::kBF16);
  ExpectClose(f32, Model(Converted(kGolden / "v3-tiny-f32", "fp8")));
  const Model fp8(kGolden / "v3-tiny-fp8");
  ExpectSameTensors(fp8, Model(Converted(kGolden / "v3-tiny-fp8", "fp8")));
  for (int64_t group : {32, 64}) {
    const Model int4(Converted(kGolden / "v3-tiny-fp8", "int4", group));
    EXPECT_EQ(int4.config.quantization.group_size, group);
    ExpectClose(fp8, int4);
    ExpectLoads(int4);
  }
  ExpectSameTensors(Model(kGolden / "v3-tiny-bf16"), Model(Converted(kGolden / "v3-tiny-bf16", "bf16")));
}

TEST_F(ConvertTest, WhatIsNoLinearStaysAsItIsStored) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBF16}) {
    const Path source = folder_ / fmt::format("odd-{}", static_cast<int>(format));
    ModelConfig config = OddConfig(29, TopkMethod::kNoauxTc);
    config.num_nextn_predict_layers = 1;
    WriteFolder(source, config, format);
    const Model from(source);
    for (const char* weights : {"fp8", "bf16"}) {
      const Model to(Converted(source, weights));
      for (const TensorSpec& spec : ExpectedTensors(config)) {
        if (spec.kind == TensorKind::kLinear) continue;
        EXPECT_EQ(from.checkpoint->Find(spec.name)->dtype, to.checkpoint->Find(spec.name)->dtype)
            << spec.name;
        EXPECT_EQ(from.Bytes(spec.name), to.Bytes(spec.name)) << spec.name;
      }
    }
  }
}

TEST_F(ConvertTest, AQuantisedHeadBecomesBF16) {
  const Path dir = Convertible("fp8");
  std::vector<HandTensor> tensors = CopyTensors(*Model(dir).checkpoint);
  for (const char* name : {"lm_head.weight", "model.layers.4.eh_proj.weight"}) {
    HandTensor& tensor = Named(tensors, name);
    const int64_t rows = tensor.shape[0], cols = tensor.shape[1],
                  blocks = (rows + 127) / 128 * ((cols + 127) / 128);
    std::vector<uint8_t> codes(static_cast<size_t>(rows * cols));
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i % 127);  // no NaN
    tensor = MakeTensor(name, DType::kF8E4M3, {rows, cols}, codes);
    tensors.push_back(MakeTensor(std::string(name) + "_scale_inv", DType::kF32,
                                 {(rows + 127) / 128, (cols + 127) / 128},
                                 std::vector<float>(static_cast<size_t>(blocks), 0.125f)));
  }
  std::filesystem::remove(dir / "model.safetensors");
  WriteAndOpen(dir / "model.safetensors", tensors);
  const Model from(dir), to(Converted(dir, "int4"));
  for (const char* name : {"lm_head.weight", "model.layers.4.eh_proj.weight"})
    EXPECT_EQ(to.checkpoint->Find(name)->dtype, DType::kBF16) << name;
  EXPECT_FALSE(to.checkpoint->Find("lm_head.weight_scale_inv"));
  ExpectClose(from, to);  // codes times a power of two are exact in bf16
  ExpectLoads(to);
}

TEST_F(ConvertTest, AnotherGroupIsQuantisedAnew) {
  const Path int4 = Convertible("int4"), wide = Converted(int4, "int4", 32);
  EXPECT_EQ(ReadFile(int4 / "config.json").value(), ReadFile(wide / "config.json").value());
  ExpectError(
      Run(int4, folder_ / "no", "int4", 64), Code::kInvalidArgument,
      "groups of 64 do not divide (32 are left over); choose a group of 32, or weights in fp8 or bf16");
}

TEST_F(ConvertTest, PackedFolderOfAnotherWriterIsCopiedAligned) {
  // Shapes as I64 after scales of an odd number of bytes / 8, and a tensor that nothing needs.
  const Path int4 = Convertible("int4");
  const Model before(int4);
  std::vector<HandTensor> tensors = CopyTensors(*before.checkpoint);
  for (HandTensor& tensor : tensors) {
    if (!tensor.name.ends_with(".weight_shape")) continue;
    int32_t shape[2];
    std::memcpy(shape, tensor.bytes.data(), sizeof shape);
    tensor = MakeTensor(tensor.name, DType::kI64, {2}, std::vector<int64_t>{shape[0], shape[1]});
  }
  tensors.push_back(MakeTensor("model.layers.0.self_attn.rotary_emb.inv_freq", DType::kU8, {3},
                               std::vector<uint8_t>{1, 2, 3}));
  std::filesystem::remove(int4 / "model.safetensors");
  WriteAndOpen(int4 / "model.safetensors", tensors);
  ExpectSameTensors(Model(int4), Model(Converted(int4, "int4")));
  const Model bf16(Converted(int4, "bf16"));
  EXPECT_EQ(bf16.Bytes("model.layers.0.self_attn.rotary_emb.inv_freq").size(), 3u);
  ExpectClose(before, bf16);
}

TEST_F(ConvertTest, SizesThatDivideNothing) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kFp8}) {
    const Path source = folder_ / fmt::format("odd-{}", static_cast<int>(format));
    WriteFolder(source, OddConfig(29, TopkMethod::kNoauxTc), format);
    const Model from(source);
    for (const char* weights : {"fp8", "bf16"}) {
      SCOPED_TRACE(source.filename().string() + " to " + weights);
      const Model to(Converted(source, weights));
      ExpectClose(from, to);
      ExpectLoads(to);
    }
    ExpectError(Run(source, folder_ / "no", "int4"), Code::kInvalidArgument, "choose weights in fp8 or bf16");
  }
}

TEST_F(ConvertTest, OnlyScalesBehindOddCodesAreUnaligned) {
  const Path source = folder_ / "odd";
  WriteFolder(source, OddConfig(29, TopkMethod::kNoauxTc), WeightFormat::kBF16);
  for (const char* weights : {"fp8", "bf16"}) {
    const Model to(Converted(source, weights));
    for (const TensorInfo& tensor : to.checkpoint->tensors())
      if (!tensor.name.ends_with("_scale_inv"))
        EXPECT_EQ(tensor.offset % static_cast<uint64_t>(DTypeBits(tensor.dtype) / 8), 0u) << tensor.name;
  }
}

TEST_F(ConvertTest, PredictionLayerThatIsNotAnnouncedIsConverted) {
  const Path dir = Convertible();
  std::string config = ReadFile(dir / "config.json").value();
  const std::string_view key = "\"num_nextn_predict_layers\": 1";
  config.replace(config.find(key), key.size(), "\"num_nextn_predict_layers\": 0");
  ASSERT_TRUE(WriteFileAtomic(dir / "config.json", config));
  const Model fp8(Converted(dir, "fp8"));
  EXPECT_EQ(fp8.checkpoint->Find("model.layers.4.self_attn.o_proj.weight")->dtype, DType::kF8E4M3);
  EXPECT_EQ(fp8.checkpoint->Find("model.layers.4.eh_proj.weight")->dtype, DType::kBF16);
}

TEST_F(ConvertTest, CopiesTheOtherFiles) {
  const Path dir = Convertible();
  ASSERT_TRUE(WriteFileAtomic(dir / "LICENSE", "free"));
  ASSERT_TRUE(WriteFileAtomic(dir / "pytorch_model.bin", "old"));
  std::filesystem::create_directory(dir / "figures");
  const Path out = Converted(dir, "int8", 32);
  for (const char* name : {"LICENSE", "tokenizer.json", "tokenizer_config.json", "generation_config.json"})
    EXPECT_EQ(ReadFile(dir / name).value(), ReadFile(out / name).value()) << name;
  EXPECT_FALSE(std::filesystem::exists(out / "pytorch_model.bin"));
  EXPECT_FALSE(std::filesystem::exists(out / "figures"));
}

TEST_F(ConvertTest, SameBytesForAnyThreads) {
  const Path dir = Convertible();
  for (const char* weights : {"fp8", "int4"}) {
    const Path one = folder_ / "one", three = folder_ / "three";
    ASSERT_TRUE(Run(dir, one, weights, 32, 1));
    ASSERT_TRUE(Run(dir, three, weights, 32, 3));
    EXPECT_EQ(ReadFile(one / "model.safetensors").value(), ReadFile(three / "model.safetensors").value());
    std::filesystem::remove_all(one);
    std::filesystem::remove_all(three);
  }
}

TEST_F(ConvertTest, StoppedLeavesNothing) {
  ConvertOptions options;
  options.in = Convertible();
  options.out = folder_ / "out";
  options.weights = "int4";
  options.progress = [](uint64_t done, uint64_t total) { return done < total / 3; };
  ThreadPool pool(2);
  ExpectError(Convert(options, pool), Code::kCancelled, "stopped");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(ConvertTest, DamagedWeightLeavesNothing) {
  const Path dir = Convertible();
  std::vector<HandTensor> tensors = CopyTensors(*Model(dir).checkpoint);
  std::memset(Named(tensors, "model.layers.2.self_attn.o_proj.weight").bytes.data() + 2 * 256 * 3, 0xff, 2);
  std::filesystem::remove(dir / "model.safetensors");
  WriteAndOpen(dir / "model.safetensors", tensors);
  ExpectError(Run(dir, folder_ / "out", "int4"), Code::kDataLoss, "o_proj.weight' (BF16) holds NaN");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(ConvertTest, PackedShapeOfAnotherModelLeavesNothing) {
  const Path dir = Convertible("int4");
  std::vector<HandTensor> tensors = CopyTensors(*Model(dir).checkpoint);
  const std::string name = "model.layers.2.self_attn.o_proj.weight_shape";
  Named(tensors, name) = MakeTensor(name, DType::kI32, {2}, std::vector<int32_t>{256, 128});
  std::filesystem::remove(dir / "model.safetensors");
  WriteAndOpen(dir / "model.safetensors", tensors);
  ExpectError(Run(dir, folder_ / "out", "int8"), Code::kDataLoss, "says that the weight is [256, 128]");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(ConvertTest, AFailingDiskLeavesNothing) {
  const Path dir = Convertible();
  // Writing beyond a megabyte fails, which no look at the free space foretells.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1 << 20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = Run(dir, folder_ / "out", "int8");
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ExpectError(status, Code::kUnavailable, "cannot write");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(ConvertTest, AFullDiskIsFoundBeforeWriting) {
  const Path dir = Convertible(), disk = folder_ / "disk";
  std::filesystem::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "needs the right to mount";
  const Status status = Run(dir, disk / "out", "int8");
  const bool empty = std::filesystem::is_empty(disk);
  umount(disk.c_str());
  ExpectError(status, Code::kResourceExhausted, "bytes of disk");
  EXPECT_TRUE(empty);
}

TEST_F(ConvertTest, RefusesWhatItCannotDo) {
  const Path dir = Convertible();
  std::filesystem::create_directories(folder_ / "full/inner");
  std::filesystem::create_directory_symlink(dir, folder_ / "link");
  ExpectError(Run(dir, dir, "int4"), Code::kInvalidArgument, "the model itself");
  ExpectError(Run(dir, folder_ / "link/", "int4"), Code::kInvalidArgument, "the model itself");
  ExpectError(Run(dir, dir / "sub", "int4"), Code::kInvalidArgument, "inside the model's folder");
  ExpectError(Run(dir, folder_ / "link/sub", "int4"), Code::kInvalidArgument, "inside the model's folder");
  ExpectError(Run(dir, folder_ / "full", "int4"), Code::kFailedPrecondition, "not empty");
  ExpectError(Run(dir, folder_ / "out", "int5"), Code::kInvalidArgument, "int5");
  ExpectError(Run(dir, folder_ / "out", "int4", 48), Code::kInvalidArgument, "32, 64 or 128");
  ExpectError(Run(folder_ / "none", folder_ / "out", "int4"), Code::kNotFound, "config.json");
  // Rows of 16 values fit no group.
  ExpectError(Run(kGolden / "v3-tiny-f32", folder_ / "out", "int4"), Code::kInvalidArgument,
              "choose weights in fp8 or bf16");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
  // A name that only begins like the model's is no part of it.
  EXPECT_TRUE(Run(dir, Path(dir) += "-int4", "int4"));
}

}  // namespace
}  // namespace hadal
