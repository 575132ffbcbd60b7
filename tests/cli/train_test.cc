// hadal train from the outside: a run and its end, interrupted, resumed, refused, short of memory.
#include "cli/train_util.h"

namespace hadal::e2e {
namespace {

TEST_F(TrainTest, ARunEndsInAModelThatOtherVerbsLoad) {
  const Outcome run = Hadal(Arguments("run", {"--steps", "30", "--held-out", File("held"), "--learning-rate", "3e-3", "--json"}));
  ASSERT_EQ(run.code, 0) << run.err;
  const Json result = Json::parse(run.out);
  EXPECT_EQ(result["steps"], 30);
  EXPECT_GT(result["planned_bytes"], 0);
  EXPECT_LT(result["held_out_loss"], 6);
  const auto log = Log("run");
  ASSERT_EQ(log.size(), 30u);
  EXPECT_GT(log.front()["loss"], log.back()["loss"]);
  EXPECT_NE(Contents("run/loss.svg").find("held out"), std::string::npos);
  const Outcome logits = Hadal({"logits", "--model", File("run/model"), "--ids", "3,4,5", "--out", File("logits.bin")});
  EXPECT_EQ(logits.code, 0) << logits.err;
  const Outcome converted = Hadal({"convert", "--model", File("run/model"), "--weights", "int8", "--out", File("int8")});
  EXPECT_EQ(converted.code, 0) << converted.err;
}

TEST_F(TrainTest, AnInterruptedRunGoesOnBitForBit) {
  ASSERT_EQ(Hadal(Arguments("whole", {"--steps", "12"})).code, 0);
  // A run of the same length that is asked to stop on its way.
  const std::vector<std::string> arguments = Arguments("parts", {"--steps", "12"});
  Terminal terminal(arguments, {});
  ASSERT_TRUE(terminal.WaitFor("3/12"));
  terminal.Type("\x03");
  ASSERT_EQ(terminal.Wait(120), 1) << terminal.shown();
  EXPECT_NE(terminal.shown().find("--resume goes on"), std::string::npos) << terminal.shown();

  const Outcome refused = Hadal(arguments);
  ExpectFailure(refused, "holds a run already");
  std::vector<std::string> resumed = arguments;
  resumed.push_back("--resume");
  const Outcome rest = Hadal(resumed);
  ASSERT_EQ(rest.code, 0) << rest.err;
  EXPECT_EQ(Contents("parts/model/model.safetensors"), Contents("whole/model/model.safetensors"));
  EXPECT_EQ(Log("parts").size(), 12u);
}

TEST_F(TrainTest, AdaptersSurviveAKillAndAreMergedIntoTheModelTheyWereTrainedOn) {
  ASSERT_EQ(Hadal(Arguments("base", {"--steps", "5"})).code, 0);
  const auto tune = [&](const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"train", "--model", File("base/model"), "--data", File("data"), "--out", File(out),
                                    "--sequence-length", "32", "--global-batch-size", "8", "--warmup-steps", "2", "--steps",
                                    "30", "--save-every", "5", "--lora-rank", "4", "--lora-targets", "all"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Outcome whole = Hadal(tune("whole", {"--json"}));
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(Json::parse(whole.out)["adapter"], File("whole/adapter"));
  EXPECT_EQ(Log("whole").size(), 30u);

  std::vector<std::string> command = tune("parts", {});
  command.insert(command.begin(), HADAL_BINARY);
  const pid_t child = Spawn(command, File("log"));
  for (int i = 0; i < 6000 && !std::filesystem::exists(folder_ / "parts/checkpoints/step-00000010"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  kill(child, SIGKILL);
  Await(child);
  const Outcome others = Hadal(tune("parts", {"--resume", "--lora-alpha", "3"}));
  EXPECT_EQ(others.code, 2);
  EXPECT_NE(others.err.find("with adapters of rank 4, alpha 16, targets all"), std::string::npos) << others.err;
  const Outcome rest = Hadal(tune("parts", {"--resume"}));
  ASSERT_EQ(rest.code, 0) << rest.err;
  for (const std::string file : {"adapter/adapter_model.safetensors", "model/model.safetensors"})
    EXPECT_EQ(Contents("parts/" + file), Contents("whole/" + file)) << file;

  const Json config = Json::parse(Contents("whole/adapter/adapter_config.json"));
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 4);
  const Outcome merged = Hadal({"convert", "--model", File("base/model"), "--lora", File("whole/adapter"), "--weights", "bf16",
                                "--out", File("merged")});
  ASSERT_EQ(merged.code, 0) << merged.err;
  EXPECT_EQ(Contents("merged/model.safetensors"), Contents("whole/model/model.safetensors"));
  EXPECT_NE(Contents("merged/model.safetensors"), Contents("base/model/model.safetensors"));
  ExpectFailure(Hadal({"convert", "--model", Model(), "--lora", File("whole/adapter"), "--weights", "bf16", "--out",
                       File("wrong")}), "was trained on another model");
  ExpectFailure(Hadal(tune("none", {"--fresh"})), "need a trained model under them");
  std::vector<std::string> misspelt = tune("none", {});
  std::ranges::replace(misspelt, "all", "o_prj");
  ExpectFailure(Hadal(misspelt), "ends no name of a Linear");
}

TEST_F(TrainTest, WhatDoesNotMultiplyOutIsRefusedWithTheArithmetic) {
  const Outcome guide = Hadal({"train", "--model", Model(), "--data", File("data"), "--out", File("run"), "--fresh",
                               "--micro-batch-size", "4", "--gradient-accumulation-steps", "16", "--data-parallel", "2",
                               "--global-batch-size", "512"});
  ExpectFailure(guide, "micro_batch_size 4 x gradient_accumulation_steps 16 x data_parallel 2 = 128, and "
                       "global_batch_size is 512; set gradient_accumulation_steps to 64, data_parallel to 8, "
                       "micro_batch_size to 16");
  ExpectFailure(Hadal(Arguments("run", {"--tensor-parallel", "2"})), "tensor 2 x pipeline 1 x data 1 = 2 ranks, and 1 were started");
  // The guide's keys in the file.
  Write("hadal.yaml", "train:\n  tensor_parallel: 8\n  pipeline_parallel: 4\n  data_parallel: 2\n"
                      "  gradient_accumulation_steps: 16\n  micro_batch_size: 4\n  global_batch_size: 512\n");
  ExpectFailure(Hadal({"train", "--config", File("hadal.yaml"), "--model", Model(), "--data", File("data"), "--out",
                       File("run"), "--fresh"}), "= 128, and global_batch_size is 512");
}

TEST_F(TrainTest, RemovesNothingThatItFinds) {
  ASSERT_EQ(Hadal(Arguments("run", {"--steps", "2"})).code, 0);
  const std::string first = Contents("run/model/model.safetensors");
  Write("run/model/precious", "mine");
  const Outcome again = Hadal(Arguments("run", {"--steps", "3", "--resume"}));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(Contents("run/model.before-1/precious"), "mine");
  EXPECT_EQ(Contents("run/model.before-1/model.safetensors"), first);
  EXPECT_NE(Contents("run/model/model.safetensors"), first);
  const Outcome own = Hadal({"train", "--model", File("run/model"), "--data", File("data"), "--out", File("run"), "--resume"});
  ExpectFailure(own, "is what this run would write");
  WriteData(folder_ / "wide", Model(), 20, 100000);
  ExpectFailure(Hadal(Arguments("other", {"--held-out", File("wide")})), "was made with a vocabulary of 100000");
}

TEST_F(TrainTest, SaysWhatIsMissingAndWhatTakesTheMemory) {
  ExpectFailure(Hadal({"train", "--data", File("data"), "--out", File("run")}), "--model is missing");
  ExpectFailure(Hadal(Arguments("run", {"--data", File("nothing")})), "nothing");
  const Outcome large = Hadal(Arguments("run", {"--sequence-length", "1048576", "--micro-batch-size", "8"}));
  EXPECT_EQ(large.code, 2);
  EXPECT_NE(large.err.find("activations"), std::string::npos) << large.err;
  EXPECT_NE(large.err.find("lower micro_batch_size 1"), std::string::npos) << large.err;
  EXPECT_NE(large.err.find("gradient_checkpointing full"), std::string::npos) << large.err;
}

TEST_F(TrainTest, MetricsAreThereWhileItRuns) {
  const pid_t child = Spawn({[&] {
    std::vector<std::string> command = {HADAL_BINARY};
    const auto arguments = Arguments("run", {"--steps", "100000", "--metrics-listen", "127.0.0.1:0"});
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }()}, File("log"));
  std::string address;
  for (int i = 0; i < 6000 && address.empty(); ++i) {
    const std::string log = Contents("log");
    const size_t at = log.find("http://");
    if (at != std::string::npos && log.find("/metrics", at) != std::string::npos && log.find("1/100000") != std::string::npos)
      address = log.substr(at, log.find("/metrics", at) + 8 - at);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_FALSE(address.empty()) << Contents("log");
  EXPECT_EQ(Await(Spawn({"curl", "-s", address}, File("page"))), 0);
  const std::string page = Contents("page");
  for (const char* name : {"hadal_train_loss ", "hadal_train_data_wait_seconds_total ", "hadal_train_tokens_per_second "})
    EXPECT_NE(page.find(name), std::string::npos) << page;
  kill(child, SIGTERM);
  EXPECT_EQ(Await(child), 1);
}

TEST_F(TrainTest, ADamagedCheckpointIsPassedOverForTheOneBefore) {
  const std::vector<std::string> arguments = Arguments("run", {"--steps", "6", "--save-every", "2"});
  ASSERT_EQ(Hadal(arguments).code, 0);
  const std::string whole = Contents("run/model/model.safetensors");
  std::string bytes = Contents("run/checkpoints/step-00000006/rank-00000.safetensors");
  bytes[bytes.size() / 2] ^= 1;
  Write("run/checkpoints/step-00000006/rank-00000.safetensors", bytes);
  std::vector<std::string> resumed = arguments;
  resumed.push_back("--resume");
  const Outcome again = Hadal(resumed);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.err.find("step-00000006 is passed over: "), std::string::npos) << again.err;
  EXPECT_NE(again.err.find("is damaged"), std::string::npos) << again.err;
  EXPECT_NE(again.err.find("goes on from " + File("run/checkpoints/step-00000004")), std::string::npos) << again.err;
  EXPECT_EQ(Contents("run/model/model.safetensors"), whole);
  EXPECT_EQ(Log("run").size(), 6u);
}

TEST_F(TrainTest, AResumeKeepsWhatItsPlaceInTheDataDependsOn) {
  ASSERT_EQ(Hadal(Arguments("run", {"--steps", "2"})).code, 0);
  const auto resume = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--resume", "--steps", "3"});
    return Hadal(Arguments("run", more));
  };
  // The plan of memory is told before the checkpoint is read.
  const auto expect = [](const Outcome& outcome, const char* part) {
    EXPECT_EQ(outcome.code, 2);
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  };
  expect(resume({"--sequence-length", "16"}), "the run cut its data into sequences of 32 tokens, this one has 16");
  expect(resume({"--seed", "5"}), "the run shuffled its data with seed 0, this one has 5");
  WriteData(folder_ / "more", Model(), 401, 256);
  expect(resume({"--data", File("more")}), "the run was on other data");
  expect(resume({"--precision", "f64"}), "holds F32, and training computes in F64");
  const Outcome other = resume({"--precision", "f32"});
  ASSERT_EQ(other.code, 0) << other.err;
  EXPECT_NE(other.err.find("precision f32 instead of bf16"), std::string::npos) << other.err;
}

TEST_F(TrainTest, DataOfAnotherTokenizerIsRefused) {
  const std::string model = Copy(Model(), "other");
  Write("other/tokenizer.json", Contents("other/tokenizer.json") + "\n");
  WriteData(folder_ / "foreign", model, 20, 256);
  ExpectFailure(Hadal(Arguments("run", {"--data", File("foreign")})), "was made with another tokenizer");
  ExpectFailure(Hadal(Arguments("run", {"--held-out", File("foreign")})), "was made with another tokenizer");
}

TEST_F(TrainTest, OneRunAtATimeIsInAFolder) {
  std::vector<std::string> command = Arguments("run", {"--steps", "100000", "--save-every", "1"});
  command.insert(command.begin(), HADAL_BINARY);
  const pid_t child = Spawn(command, File("log"));
  for (int i = 0; i < 6000 && Contents("log").find("1/100000") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  for (const char* how : {"--resume", "--json"})
    ExpectFailure(Hadal(Arguments("run", {"--steps", "100000", how})), "another run is writing to");
  kill(child, SIGTERM);
  EXPECT_EQ(Await(child), 1) << Contents("log");
}

TEST_F(TrainTest, NumbersOutOfRangeAreRefusedWithTheArithmetic) {
  ExpectFailure(Hadal(Arguments("run", {"--beta2", "1"})), "beta1 0.9 and beta2 1; each is at least 0 and below 1");
  ExpectFailure(Hadal(Arguments("run", {"--sequence-length", "1048576", "--micro-batch-size", "4096", "--global-batch-size",
                                        "4096"})), "micro_batch_size 4096 x sequence_length 1048576 tokens");
  ExpectFailure(Hadal(Arguments("run", {"--sequence-length", "1048576", "--micro-batch-size", "17", "--global-batch-size",
                                        "17"})), "a micro-batch has at most 16777216 tokens");
  ExpectFailure(Hadal(Arguments("run", {"--tensor-parallel", "4096", "--pipeline-parallel", "4096", "--data-parallel", "4096",
                                        "--global-batch-size", "4096"})),
                "tensor 4096 x pipeline 4096 x data 4096 = 68719476736 ranks");
}

TEST_F(TrainTest, NotesDocumentsBeyondTheModelsPositions) {
  const std::string model = Copy(Model(), "short");
  std::string config = Contents("short/config.json");
  const size_t at = config.find("\"max_position_embeddings\":") + 26;
  config.replace(at, config.find(',', at) - at, " 20");
  Write("short/config.json", config);
  std::vector<std::string> arguments = Arguments("run", {"--steps", "1"});
  *std::ranges::find(arguments, Model()) = model;
  const Outcome run = Hadal(arguments);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_NE(run.err.find("of 400 documents are longer than config.json's max_position_embeddings 20"), std::string::npos)
      << run.err;
  *std::ranges::find(arguments, File("run")) = File("fits");
  *std::ranges::find(arguments, "32") = "16";
  const Outcome fits = Hadal(arguments);
  ASSERT_EQ(fits.code, 0) << fits.err;
  EXPECT_EQ(fits.err.find("max_position_embeddings"), std::string::npos) << fits.err;
}

TEST_F(TrainTest, ALogThatCannotBeWrittenDoesNotEndTheRun) {
  // A folder in its place, once the run has begun.
  std::vector<std::string> command = Arguments("run", {"--steps", "100000", "--save-every", "1", "--schedule", "constant"});
  command.insert(command.begin(), HADAL_BINARY);
  const pid_t child = Spawn(command, File("log"));
  const auto wait_for = [&](const std::string& text) {
    for (int i = 0; i < 6000; ++i) {
      if (Contents("log").find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  };
  ASSERT_TRUE(wait_for("1/100000")) << Contents("log");
  std::filesystem::rename(folder_ / "run/log.jsonl", folder_ / "run/aside");
  std::filesystem::create_directory(folder_ / "run/log.jsonl");
  EXPECT_TRUE(wait_for("the run goes on, and lines are missing in its log")) << Contents("log");
  std::filesystem::remove(folder_ / "run/log.jsonl");
  EXPECT_TRUE(wait_for("the log is written again")) << Contents("log");
  kill(child, SIGTERM);
  EXPECT_EQ(Await(child), 1) << Contents("log");
}

}  // namespace
}  // namespace hadal::e2e
