#include "bindings.h"
#include "motive/scan.h"

namespace motive::python {

namespace {

StoreType store_type_from(int code) {
  if (code < int(StoreType::float32) || code > int(StoreType::int8)) {
    fail("scan", "dtype", "0 (float32), 1 (float16) or 2 (int8)", std::to_string(code), "convert the store");
  }
  return StoreType(code);
}

}  // namespace

void bind_scan(py::module_& m) {
  py::class_<Scan>(m, "Scan")
      .def(py::init([](uintptr_t queries, uintptr_t query_scales, int64_t count, int64_t dim, uintptr_t low,
                       uintptr_t high, uintptr_t weights, int threads) {
             Scan a{};
             a.queries = pointer<const void>(queries);
             a.query_scales = pointer<const float>(query_scales);
             a.count = count;
             a.dim = dim;
             a.low = pointer<const float>(low);
             a.high = pointer<const float>(high);
             a.weights = pointer<const int32_t>(weights);
             a.threads = threads;
             return a;
           }),
           py::kw_only(), py::arg("queries"), py::arg("query_scales"), py::arg("count"), py::arg("dim"), py::arg("low"),
           py::arg("high"), py::arg("weights"), py::arg("threads"))
      .def(
          "store",
          [](Scan& a, uintptr_t store, int dtype, int64_t rows, int64_t row_stride, uintptr_t row_scales,
             uintptr_t keep) {
            a.store = pointer<const void>(store);
            a.dtype = store_type_from(dtype);
            a.rows = rows;
            a.row_stride = row_stride;
            a.row_scales = pointer<const float>(row_scales);
            a.keep = pointer<const uint8_t>(keep);
          },
          py::kw_only(), py::arg("store"), py::arg("dtype"), py::arg("rows"), py::arg("row_stride"),
          py::arg("row_scales"), py::arg("keep"))
      .def(
          "results",
          [](Scan& a, uintptr_t votes, uintptr_t best, uintptr_t counts, uintptr_t extremes, uintptr_t total,
             uintptr_t first_broken) {
            a.votes = pointer<int32_t>(votes);
            a.best = pointer<float>(best);
            a.above = pointer<int64_t>(counts);  // [3, count]
            a.reached = a.above + a.count;
            a.listed = a.reached + a.count;
            a.lowest = pointer<float>(extremes);  // [2, count]
            a.highest = a.lowest ? a.lowest + a.count : nullptr;
            a.total = pointer<double>(total);
            a.first_broken = pointer<int64_t>(first_broken);
          },
          py::kw_only(), py::arg("votes"), py::arg("best"), py::arg("counts"), py::arg("extremes"), py::arg("total"),
          py::arg("first_broken"))
      .def(
          "run",
          [](Scan& a, int64_t capacity, uintptr_t scores, uintptr_t rows) {
            a.capacity = capacity;
            a.listed_scores = pointer<float>(scores);
            a.listed_rows = pointer<int64_t>(rows);
            cpu::scan(a);
          },
          py::kw_only(), py::arg("capacity"), py::arg("scores"), py::arg("rows"), WithoutGil());
}

}  // namespace motive::python
