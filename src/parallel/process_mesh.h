// Ranks as a grid: pipeline stages of data replicas of tensor shards; experts are spread over data replicas.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace hadal {

struct MeshShape {
  int tensor = 1, pipeline = 1, data = 1;
  int expert = 1;  // ranks that share a layer's experts; divides `data`

  int64_t ranks() const { return int64_t{tensor} * pipeline * data; }
  bool operator==(const MeshShape&) const = default;
};

/// rank = (stage * data + replica) * tensor + shard: shards of one layer are neighbours, since they talk most.
class ProcessMesh {
 public:
  /// All ranks of `world` call this together. `world` must outlive the mesh. kInvalidArgument, with the arithmetic:
  /// the shape's product is not the number of ranks, or experts do not divide the replicas.
  static Result<std::unique_ptr<ProcessMesh>> Create(Communicator& world, const MeshShape& shape);

  const MeshShape& shape() const { return shape_; }
  int stage() const { return stage_; }
  int replica() const { return replica_; }
  int shard() const { return shard_; }
  int expert_rank() const { return replica_ % shape_.expert; }
  bool first_stage() const { return stage_ == 0; }
  bool last_stage() const { return stage_ == shape_.pipeline - 1; }

  Communicator& world() const { return *world_; }
  Communicator& tensor() const { return *tensor_; }      // same stage and replica
  Communicator& pipeline() const { return *pipeline_; }  // same replica and shard; rank = stage
  Communicator& data() const { return *data_; }          // same stage and shard; rank = replica
  Communicator& expert() const { return *expert_; }      // of these, those that share one set of experts
  Communicator& expert_data() const { return *expert_data_; }  // of these, those that hold the same experts
  /// First and last stage of the same replica and shard; of size 1 elsewhere, and where they are one.
  Communicator& ends() const { return *ends_; }

 private:
  ProcessMesh(Communicator& world, const MeshShape& shape);

  Communicator* world_;
  MeshShape shape_;
  int stage_, replica_, shard_;
  std::unique_ptr<Communicator> tensor_, pipeline_, data_, expert_, expert_data_, ends_;
};

}  // namespace hadal
