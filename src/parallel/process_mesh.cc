#include "parallel/process_mesh.h"

namespace hadal {

ProcessMesh::ProcessMesh(Communicator& world, const MeshShape& shape)
    : world_(&world),
      shape_(shape),
      stage_(world.rank() / (shape.tensor * shape.data)),
      replica_(world.rank() / shape.tensor % shape.data),
      shard_(world.rank() % shape.tensor) {}

Result<std::unique_ptr<ProcessMesh>> ProcessMesh::Create(Communicator& world, const MeshShape& s) {
  if (s.tensor < 1 || s.pipeline < 1 || s.data < 1 || s.expert < 1)
    return InvalidArgument("a mesh of {} tensor x {} pipeline x {} data with {} expert ranks; each must be at least 1",
                           s.tensor, s.pipeline, s.data, s.expert);
  if (s.ranks() != world.size())
    return InvalidArgument("tensor {} x pipeline {} x data {} = {} ranks, and {} were started; start {} or change the "
                           "factors", s.tensor, s.pipeline, s.data, s.ranks(), world.size(), s.ranks());
  if (s.data % s.expert != 0)
    return InvalidArgument("{} data replicas cannot share experts in groups of {}: {} mod {} = {}", s.data, s.expert,
                           s.data, s.expert, s.data % s.expert);
  std::unique_ptr<ProcessMesh> mesh(new ProcessMesh(world, s));
  const int stage = mesh->stage_, replica = mesh->replica_, shard = mesh->shard_;
  const auto split = [&](int color, int key) { return world.Split(color, key); };
  ASSIGN_OR_RETURN(mesh->tensor_, split(stage * s.data + replica, shard));
  ASSIGN_OR_RETURN(mesh->pipeline_, split(replica * s.tensor + shard, stage));
  const int column = stage * s.tensor + shard;  // ranks with the same dense parameters
  ASSIGN_OR_RETURN(mesh->data_, split(column, replica));
  ASSIGN_OR_RETURN(mesh->expert_, split(column * s.data + replica / s.expert, replica));
  ASSIGN_OR_RETURN(mesh->expert_data_, split(column * s.data + replica % s.expert, replica));
  const bool end = mesh->first_stage() || mesh->last_stage();
  ASSIGN_OR_RETURN(mesh->ends_, split(end ? replica * s.tensor + shard : world.size() + world.rank(), stage));
  return mesh;
}

}  // namespace hadal
