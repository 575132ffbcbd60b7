#include "parallel/process_mesh.h"

#include <gtest/gtest.h>

#include "parallel/thread_communicator.h"

namespace hadal {
namespace {

TEST(ProcessMesh, GivesEveryRankItsPlaceAndItsGroups) {
  const MeshShape shape{.tensor = 2, .pipeline = 2, .data = 4, .expert = 2};
  const Status status = RunRanks(16, std::chrono::seconds(60), [&](Communicator& world) -> Status {
    ASSIGN_OR_RETURN(const auto mesh, ProcessMesh::Create(world, shape));
    const int rank = (mesh->stage() * 4 + mesh->replica()) * 2 + mesh->shard();
    if (rank != world.rank()) return DataLoss("rank {} stands at {}", world.rank(), rank);
    const auto is = [](const Communicator& group, int size, int place) {
      return group.size() == size && group.rank() == place;
    };
    if (!is(mesh->tensor(), 2, mesh->shard()) || !is(mesh->pipeline(), 2, mesh->stage()) ||
        !is(mesh->data(), 4, mesh->replica()) || !is(mesh->expert(), 2, mesh->replica() % 2) ||
        !is(mesh->expert_data(), 2, mesh->replica() / 2) || !is(mesh->ends(), 2, mesh->stage()))
      return DataLoss("rank {}: a group of another size or order", world.rank());
    // The members of each group, by the sum of their world ranks.
    int64_t sum = world.rank();
    RETURN_IF_ERROR(mesh->expert_data().AllReduceSum(std::span(&sum, 1), "members"));
    const int other = world.rank() + (mesh->replica() < 2 ? 4 : -4);
    if (sum != world.rank() + other) return DataLoss("rank {}: others hold its experts", world.rank());
    return {};
  });
  EXPECT_TRUE(status) << status.error().message;
}

TEST(ProcessMesh, RefusesWhatDoesNotMultiplyOut) {
  LoopbackCommunicator alone;
  const auto product = ProcessMesh::Create(alone, {.tensor = 2, .pipeline = 3, .data = 4});
  ASSERT_FALSE(product);
  EXPECT_NE(product.error().message.find("tensor 2 x pipeline 3 x data 4 = 24 ranks, and 1 were started"),
            std::string::npos) << product.error().message;
  EXPECT_FALSE(ProcessMesh::Create(alone, {.tensor = 0}));
  // As an int it would be 0.
  const auto large = ProcessMesh::Create(alone, {.tensor = 65536, .data = 65536});
  ASSERT_FALSE(large);
  EXPECT_NE(large.error().message.find("= 4294967296 ranks"), std::string::npos) << large.error().message;
  const auto experts = ProcessMesh::Create(alone, {.expert = 2});
  ASSERT_FALSE(experts);
  EXPECT_NE(experts.error().message.find("1 mod 2 = 1"), std::string::npos) << experts.error().message;
}

}  // namespace
}  // namespace hadal
