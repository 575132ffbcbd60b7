#include "parallel/communicator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include "base/check.h"

namespace hadal {
namespace {

// Room for one chunk's parts from all ranks. Larger chunks save messages, and a sum of 1 MiB still lies in cache.
constexpr uint64_t kStagingBytes = 1 << 20;
// A chunk is cut into one piece a rank; counts of pieces stand on the stack.
constexpr int kMaxRanks = 4096;

template <typename T>
constexpr int64_t PieceElements(int ranks) {
  return static_cast<int64_t>(kStagingBytes / sizeof(T)) / ranks;
}

}  // namespace

Status Communicator::Stage() {
  if (staging_.size() > 0) return {};
  HADAL_CHECK(size() <= kMaxRanks, "{} ranks, at most {} share a sum", size(), kMaxRanks);
  ASSIGN_OR_RETURN(staging_, ByteBuffer::Allocate(kStagingBytes, "staging of collectives"));
  return {};
}

/// Chunk by chunk: every rank gets one piece of the chunk from all ranks, combines it in rank order, and gives the
/// result to all. Two times the bytes on the wire, whatever the number of ranks.
template <typename T, typename Combine>
Status Communicator::AllReduce(std::span<T> x, Combine combine, const char* what) {
  const int ranks = size();
  if (ranks == 1 || x.empty()) return {};
  RETURN_IF_ERROR(Stage());
  T* parts = reinterpret_cast<T*>(staging_.data());
  const int64_t most = PieceElements<T>(ranks);
  std::array<int64_t, kMaxRanks> send, receive;
  for (size_t first = 0; first < x.size();) {
    const int64_t count = std::min<int64_t>(static_cast<int64_t>(x.size() - first), most * ranks);
    const auto begin = [&](int r) { return count * r / ranks; };
    const int64_t mine = begin(rank() + 1) - begin(rank());
    for (int r = 0; r < ranks; ++r) {
      send[r] = (begin(r + 1) - begin(r)) * static_cast<int64_t>(sizeof(T));
      receive[r] = mine * static_cast<int64_t>(sizeof(T));
    }
    T* chunk = x.data() + first;
    const std::span<const int64_t> sends(send.data(), ranks), receives(receive.data(), ranks);
    RETURN_IF_ERROR(AllToAll(reinterpret_cast<const std::byte*>(chunk), sends,
                             reinterpret_cast<std::byte*>(parts), receives, what));
    for (int r = 1; r < ranks; ++r)
      for (int64_t i = 0; i < mine; ++i) parts[i] = combine(parts[i], parts[r * mine + i]);
    // The same piece goes to every rank.
    for (int r = ranks - 1; r > 0; --r) std::memcpy(parts + r * mine, parts, mine * sizeof(T));
    RETURN_IF_ERROR(AllToAll(reinterpret_cast<const std::byte*>(parts), receives,
                             reinterpret_cast<std::byte*>(chunk), sends, what));
    first += static_cast<size_t>(count);
  }
  return {};
}

template <typename T>
Status Communicator::ReduceScatter(std::span<const T> x, std::span<T> piece, const char* what) {
  const int ranks = size();
  HADAL_CHECK(x.size() == piece.size() * static_cast<size_t>(ranks), "{} elements, {} ranks of {}", x.size(),
              ranks, piece.size());
  if (ranks == 1) {
    if (piece.data() != x.data()) std::copy(x.begin(), x.end(), piece.begin());
    return {};
  }
  RETURN_IF_ERROR(Stage());
  // Twice the parts: what goes out is gathered from each rank's place in x, what comes in is summed.
  T* out = reinterpret_cast<T*>(staging_.data());
  const int64_t most = PieceElements<T>(2 * ranks);
  T* in = out + most * ranks;
  std::array<int64_t, kMaxRanks> bytes;
  for (size_t first = 0; first < piece.size();) {
    const int64_t count = std::min<int64_t>(static_cast<int64_t>(piece.size() - first), most);
    for (int r = 0; r < ranks; ++r) {
      bytes[r] = count * static_cast<int64_t>(sizeof(T));
      std::memcpy(out + r * count, x.data() + r * piece.size() + first, count * sizeof(T));
    }
    const std::span<const int64_t> sizes(bytes.data(), ranks);
    RETURN_IF_ERROR(AllToAll(reinterpret_cast<const std::byte*>(out), sizes, reinterpret_cast<std::byte*>(in),
                             sizes, what));
    for (int64_t i = 0; i < count; ++i) {
      T sum = in[i];
      for (int r = 1; r < ranks; ++r) sum += in[r * count + i];
      piece[first + i] = sum;
    }
    first += static_cast<size_t>(count);
  }
  return {};
}

Status Communicator::AllReduceSum(std::span<float> x, const char* what) {
  return AllReduce(x, std::plus<float>(), what);
}
Status Communicator::AllReduceSum(std::span<double> x, const char* what) {
  return AllReduce(x, std::plus<double>(), what);
}
Status Communicator::AllReduceSum(std::span<int64_t> x, const char* what) {
  return AllReduce(x, std::plus<int64_t>(), what);
}
Status Communicator::AllReduceSum(View<float> x) {
  if (size() == 1) return {};
  if (x.stride == x.cols)
    return AllReduceSum(std::span(x.data, static_cast<size_t>(x.rows * x.cols)), "activations");
  for (int64_t i = 0; i < x.rows; ++i)
    RETURN_IF_ERROR(AllReduceSum(std::span(x.row(i), static_cast<size_t>(x.cols)), "activations"));
  return {};
}
Status Communicator::AllReduceMax(std::span<float> x, const char* what) {
  return AllReduce(x, [](float a, float b) { return std::max(a, b); }, what);
}
Status Communicator::AllReduceMax(std::span<double> x, const char* what) {
  return AllReduce(x, [](double a, double b) { return std::max(a, b); }, what);
}
Status Communicator::ReduceScatterSum(std::span<const float> x, std::span<float> piece, const char* what) {
  return ReduceScatter(x, piece, what);
}
Status Communicator::ReduceScatterSum(std::span<const double> x, std::span<double> piece, const char* what) {
  return ReduceScatter(x, piece, what);
}

Status LoopbackCommunicator::AllGather(std::span<const std::byte> mine, std::span<std::byte> all, const char*) {
  HADAL_CHECK(mine.size() == all.size(), "{} bytes gathered into {}", mine.size(), all.size());
  if (all.data() != mine.data()) std::copy(mine.begin(), mine.end(), all.begin());
  return {};
}

Status LoopbackCommunicator::AllToAll(const std::byte* send, std::span<const int64_t> send_bytes,
                                      std::byte* receive, std::span<const int64_t> receive_bytes, const char*) {
  HADAL_CHECK(send_bytes.size() == 1 && receive_bytes.size() == 1 && send_bytes[0] == receive_bytes[0],
              "one rank exchanges with itself alone");
  if (send != receive) std::copy_n(send, send_bytes[0], receive);
  return {};
}

Status LoopbackCommunicator::Send(int to, std::span<const std::byte>, const char* what) {
  HADAL_CHECK(false, "{}: sent to rank {} of 1", what, to);
  return {};
}

Status LoopbackCommunicator::Receive(int from, std::span<std::byte>, const char* what) {
  HADAL_CHECK(false, "{}: expected of rank {} of 1", what, from);
  return {};
}

Result<std::unique_ptr<Communicator>> LoopbackCommunicator::Split(int, int) {
  return std::make_unique<LoopbackCommunicator>();
}

}  // namespace hadal
