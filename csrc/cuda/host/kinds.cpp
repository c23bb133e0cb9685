// Dense projection, sparse transform and Fastfood.
#include "../dense_projection.h"
#include "../fastfood.h"
#include "../sjlt.h"
#include "emulators.h"

namespace motive::cuda::host {
namespace {

// As dense_kernel.
template <class T>
void run_dense(const DenseProjection& a, std::vector<float>& partials, bool descending) {
  using namespace dense;
  const Block block(dense::kThreads, descending);
  const Grid grid = grid_of(a);
  for (int64_t number = 0; number < grid.sample_tiles * grid.units * grid.row_tiles; ++number) {
    const Place place = place_of(a, grid, number);
    std::vector<Values> values(kStage);
    struct Sums {
      float of[kSamples] = {};
    };
    std::vector<Sums> sums(dense::kThreads);
    for (int64_t column = place.first_column; column < place.last_column; column += kStage) {
      block.phase([&](int thread) { stage<T>(a, place, column, values.data(), thread); });
      block.phase([&](int thread) {
        if (a.distribution == Distribution::rademacher) {
          add_signs(a, place, column, values.data(), thread, sums[thread].of);
        } else {
          add_normals(a, place, column, values.data(), thread, sums[thread].of);
        }
      });
    }
    block.phase([&](int thread) { write(a, grid, place, partials.data(), thread, sums[thread].of); });
  }
}

// As sparse_kernel: lanes of one bucket in order is plain order, bucket by bucket.
template <class T>
void run_sparse(const SparseTransform& a, std::vector<float>& partials) {
  using namespace sparse;
  const sparse::Cut cut = sparse::cut_of(a);
  for (int64_t number = 0; number < a.samples * cut.blocks; ++number) {
    const int64_t sample = number / cut.blocks, block = number % cut.blocks;
    for (int64_t b = 0; b < a.dim; ++b) partials[number * a.dim + b] = 0.0f;
    for (int64_t warp = 0; warp < cut.warps; ++warp) {
      std::vector<float> sums(size_t(a.dim), 0.0f);
      const int64_t first = (block * cut.warps + warp) * cut.unit_items;
      const int64_t last = smaller(first + cut.unit_items, cut.items);
      for (int64_t t = first; t < last; t += kStep) {
        for (int w = 0; w < 4; ++w) {
          for (int lane = 0; lane < 32 && t + 4 * lane + w < last; ++lane) {
            const Item item = item_of(a, t + 4 * lane + w, words_of(a, t / 4 + lane).words[w]);
            sums[item.bucket] += value_of<T>(a, sample, item);
          }
        }
      }
      for (int64_t b = 0; b < a.dim; ++b) partials[number * a.dim + b] += a.scale * sums[b];
    }
  }
}

void hadamard(float* values, int length, const Block& block) {
  for (int half = 1; half < length; half <<= tiled::log_radix(length, half)) {
    block.phase([&](int thread) { tiled::hadamard_pass(values, length, half, thread); });
  }
}

// As the three kernels of fastfood.cu.
template <class T>
void run_fastfood(const Fastfood& a, bool descending) {
  using namespace tiled;
  const Block block(tiled::kThreads, descending);
  const tiled::Cut cut = tiled::cut_of(a);
  std::vector<float> sums = unwritten(a.samples * cut.units * a.tile);
  for (int64_t number = 0; number < a.samples * cut.units; ++number) {
    const int64_t first = number % cut.units * cut.unit_tiles, last = smaller(first + cut.unit_tiles, cut.tiles);
    std::vector<float> values = unwritten(a.tile);
    std::vector<uint32_t> signs(size_t(sign_words(int(a.tile))));
    for (int64_t tile = first; tile < last; ++tile) {
      block.phase([&](int thread) { make_signs(a, tile, signs.data(), thread); });
      block.phase([&](int thread) { load_tile<T>(a, number / cut.units, tile, signs.data(), values.data(), thread); });
      hadamard(values.data(), int(a.tile), block);
      block.phase(
          [&](int thread) { add_tile(a, tile, tile == first, values.data(), sums.data() + number * a.tile, thread); });
    }
  }
  int64_t count = cut.units;
  while (count > kGroup) {
    std::vector<float> next = unwritten(a.samples * ceil_div(count, kGroup) * a.tile);
    for (int64_t j = 0; j < int64_t(next.size()); ++j) sum_group(sums.data(), next.data(), count, a.tile, j);
    sums = next;
    count = ceil_div(count, kGroup);
  }
  for (int64_t sample = 0; sample < a.samples; ++sample) {
    std::vector<float> buckets = unwritten(a.dim);
    for (int64_t first = 0; first < a.dim; first += kFoldBuckets) {
      std::vector<float> parts = unwritten(kFoldBuckets * kFoldParts);
      Block(kFoldBuckets * kFoldParts, descending).phase([&](int thread) {
        parts[thread] = fold_part(a, sums.data(), count, sample, first, thread);
      });
      for (int64_t b = first; b < smaller(first + kFoldBuckets, a.dim); ++b) {
        buckets[b] = 0.0f;
        for (int part = 0; part < kFoldParts; ++part) buckets[b] += parts[part * kFoldBuckets + b - first];
      }
    }
    hadamard(buckets.data(), int(a.dim), block);
    for (int64_t b = 0; b < a.dim; ++b) a.z[sample * a.dim + b] += a.scale * buckets[b];
  }
}

// dtype, samples, columns, dim, sample stride, grad + offset, key0, key1, scale, z.
template <class Args>
void read_common(Job& job, Args& a) {
  a.dtype = job.dtype();
  a.samples = job.integer();
  a.columns = job.integer();
  a.dim = job.integer();
  a.sample_stride = job.integer();
  const char* const grad = job.array<char>();
  a.grad = grad + job.integer() * size_of(a.dtype);
  a.key0 = uint32_t(job.integer());
  a.key1 = uint32_t(job.integer());
  a.scale = job.real();
  a.z = job.array<float>();
}

}  // namespace

// order, common, distribution, role.
void emulate_dense_projection(Job& job) {
  const bool descending = job.integer();
  DenseProjection a{};
  read_common(job, a);
  a.distribution = Distribution(job.integer());
  a.role = uint32_t(job.integer());
  check(a);
  const int64_t units = dense::units_of(a);
  std::vector<float> partials = unwritten(a.samples * units * a.dim);
  with_type(a.dtype, [&](auto type) { run_dense<decltype(type)>(a, partials, descending); });
  add_partials(partials, a.z, a.samples, units, a.dim);
  job.write("out.bin", a.z, a.samples * a.dim);
}

// common, nonzeros.
void emulate_sjlt(Job& job) {
  SparseTransform a{};
  read_common(job, a);
  a.nonzeros = job.integer();
  check(a);
  const int64_t blocks = sparse::cut_of(a).blocks;
  std::vector<float> partials = unwritten(a.samples * blocks * a.dim);
  with_type(a.dtype, [&](auto type) { run_sparse<decltype(type)>(a, partials); });
  add_partials(partials, a.z, a.samples, blocks, a.dim);
  job.write("out.bin", a.z, a.samples * a.dim);
}

// order, common, tile, labels.
void emulate_fastfood(Job& job) {
  const bool descending = job.integer();
  Fastfood a{};
  read_common(job, a);
  a.tile = job.integer();
  a.labels = job.array<int32_t>();
  tiled::check_device(a);
  with_type(a.dtype, [&](auto type) { run_fastfood<decltype(type)>(a, descending); });
  job.write("out.bin", a.z, a.samples * a.dim);
}

// key0, key1, how many, and the counters, four words each. Writes their blocks.
void emulate_philox(Job& job) {
  const PhiloxKey key{{uint32_t(job.integer()), uint32_t(job.integer())}};
  const int64_t count = job.integer();
  const PhiloxBlock* const counters = job.array<PhiloxBlock>();
  std::vector<PhiloxBlock> words;
  for (int64_t j = 0; j < count; ++j) words.push_back(philox4x32(counters[j], key));
  job.write("out.bin", words.data(), count);
}

// dtype, how many, floats. Writes them rounded.
void emulate_round(Job& job) {
  const DType dtype = job.dtype();
  const int64_t count = job.integer();
  const float* const values = job.array<float>();
  std::vector<char> out(size_t(count * size_of(dtype)));
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t j = 0; j < count; ++j) {
      const float value[1] = {values[j]};
      store_rounded<T, 1>(reinterpret_cast<T*>(out.data()) + j, value);
    }
  });
  job.write("out.bin", out.data(), int64_t(out.size()));
}

}  // namespace motive::cuda::host
