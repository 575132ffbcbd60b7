#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>
#include <vector>

#include "parallel/agree.h"
#include "parallel/thread_communicator.h"

namespace hadal {
namespace {

using std::chrono::milliseconds;

TEST(LoopbackCommunicator, IsOneRankWhoseSumsAreItsOwn) {
  LoopbackCommunicator alone;
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.size(), 1);
  float values[] = {1.5f, -2, 0.25f, 8};
  ASSERT_TRUE(alone.AllReduceSum(View<float>(values, 2, 2)));
  EXPECT_EQ(values[0], 1.5f);
  EXPECT_EQ(values[3], 8.0f);
  EXPECT_TRUE(alone.Barrier("test"));
}

/// Values whose sum depends on the order in which they are added.
float Uneven(int rank, int64_t i) {
  return static_cast<float>((rank * 7 + i * 13) % 101) * (rank % 2 ? 1e-3f : 1e4f) + static_cast<float>(rank);
}

TEST(Communicator, SumsInRankOrderWhateverTheSize) {
  for (const int ranks : {2, 3, 5, 8})
    for (const int64_t count : {1, 2, 7, 1000, 300'001}) {
      std::vector<float> expected(count);
      for (int64_t i = 0; i < count; ++i) {
        expected[i] = Uneven(0, i);
        for (int r = 1; r < ranks; ++r) expected[i] += Uneven(r, i);
      }
      const Status status = RunRanks(ranks, milliseconds(60000), [&](Communicator& world) -> Status {
        std::vector<float> x(count);
        for (int64_t i = 0; i < count; ++i) x[i] = Uneven(world.rank(), i);
        RETURN_IF_ERROR(world.AllReduceSum(std::span(x), "test"));
        if (x != expected) return DataLoss("rank {} of {}: another sum", world.rank(), ranks);
        return {};
      });
      EXPECT_TRUE(status) << status.error().message;
    }
}

TEST(Communicator, ReduceScatterGivesEachRankItsPieceOfTheSum) {
  constexpr int kRanks = 3;
  constexpr int64_t kPiece = 100'003;
  const Status status = RunRanks(kRanks, milliseconds(60000), [&](Communicator& world) -> Status {
    std::vector<double> x(kPiece * kRanks), piece(kPiece);
    for (size_t i = 0; i < x.size(); ++i) x[i] = Uneven(world.rank(), static_cast<int64_t>(i));
    RETURN_IF_ERROR(world.ReduceScatterSum(std::span<const double>(x), std::span(piece), "test"));
    for (int64_t i = 0; i < kPiece; ++i) {
      const int64_t at = world.rank() * kPiece + i;
      double sum = Uneven(0, at);
      for (int r = 1; r < kRanks; ++r) sum += Uneven(r, at);
      if (piece[i] != sum) return DataLoss("rank {} element {}", world.rank(), i);
    }
    return {};
  });
  EXPECT_TRUE(status) << status.error().message;
}

TEST(Communicator, SplitsByColorInOrderOfTheKey) {
  const Status status = RunRanks(6, milliseconds(60000), [&](Communicator& world) -> Status {
    ASSIGN_OR_RETURN(const auto part, world.Split(world.rank() % 2, -world.rank()));
    std::vector<int64_t> all(3);
    const int64_t mine = world.rank();
    RETURN_IF_ERROR(part->AllGather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)), "ranks"));
    const int64_t odd = world.rank() % 2;
    if (all != std::vector<int64_t>{4 + odd, 2 + odd, odd}) return DataLoss("another order");
    if (part->rank() != (4 + odd - world.rank()) / 2) return DataLoss("another place");
    return {};
  });
  EXPECT_TRUE(status) << status.error().message;
}

TEST(Communicator, ExchangesPartsOfDifferentLengths) {
  const Status status = RunRanks(4, milliseconds(60000), [&](Communicator& world) -> Status {
    // Rank r sends r + to bytes of value 10 r + to.
    std::vector<std::byte> send, receive;
    std::vector<int64_t> sends, receives;
    for (int r = 0; r < 4; ++r) {
      sends.push_back(world.rank() + r);
      receives.push_back(world.rank() + r);
      send.insert(send.end(), sends.back(), static_cast<std::byte>(10 * world.rank() + r));
    }
    receive.resize(std::accumulate(receives.begin(), receives.end(), size_t{0}));
    RETURN_IF_ERROR(world.AllToAll(send.data(), sends, receive.data(), receives, "test"));
    size_t at = 0;
    for (int r = 0; r < 4; ++r)
      for (int64_t i = 0; i < receives[r]; ++i)
        if (receive[at++] != static_cast<std::byte>(10 * r + world.rank())) return DataLoss("of rank {}", r);
    return {};
  });
  EXPECT_TRUE(status) << status.error().message;
}

TEST(Communicator, NamesTheRankThatLeftAndTheOneThatHangs) {
  const Status left = RunRanks(3, milliseconds(60000), [](Communicator& world) -> Status {
    if (world.rank() == 2) return {};
    return world.Barrier("step 7");
  });
  ASSERT_FALSE(left);
  EXPECT_EQ(left.error().code, Code::kUnavailable);
  EXPECT_EQ(left.error().message, "rank 2 has ended while rank 0 waited for its step 7");

  const Status hangs = RunRanks(2, milliseconds(50), [](Communicator& world) -> Status {
    std::byte byte{};
    // Each waits for the other, and none sends.
    return world.Receive(1 - world.rank(), {&byte, 1}, "gradients");
  });
  ASSERT_FALSE(hangs);
  EXPECT_NE(hangs.error().message.find("waited for its gradients"), std::string::npos) << hangs.error().message;
}

TEST(Communicator, WaitsBeyondTheLimitForWorkThatWasAnnounced) {
  constexpr milliseconds kLimit(50);
  const Status status = RunRanks(2, kLimit, [&](Communicator& world) -> Status {
    std::byte byte{};
    if (world.rank() == 0) {
      const LongWork work(world, "export");
      RETURN_IF_ERROR(world.Send(1, {&byte, 1}, "begun"));
      std::this_thread::sleep_for(4 * kLimit);
    } else {
      RETURN_IF_ERROR(world.Receive(0, {&byte, 1}, "begun"));
    }
    return world.Barrier("end");
  });
  EXPECT_TRUE(status) << status.error().message;
}

TEST(Agree, GivesAllRanksTheFirstErrorAndTheFirstRanksNumber) {
  const Status status = RunRanks(3, milliseconds(60000), [](Communicator& world) -> Status {
    const Status mine = world.rank() == 0 ? Status() : Status(DataLoss("file {} is damaged", world.rank()));
    const Status all = Agree(world, mine, "files");
    if (all || all.error().code != Code::kDataLoss || all.error().message != "rank 1: file 1 is damaged")
      return Internal("rank {} knows another error", world.rank());
    RETURN_IF_ERROR(Agree(world, {}, "none"));
    ASSIGN_OR_RETURN(const int64_t number, FromFirst(world, 10 + world.rank(), "number"));
    if (number != 10) return Internal("rank {} has {}", world.rank(), number);
    return {};
  });
  EXPECT_TRUE(status) << status.error().message;
}

}  // namespace
}  // namespace hadal
