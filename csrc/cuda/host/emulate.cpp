// Runs the CUDA kernels' thread functions on the CPU: `emulate FOLDER` reads FOLDER/job.txt and writes FOLDER/out.bin.
// tests/kernels compares the results with the reference, under the address and undefined-behaviour sanitizers.
#include <map>

#include "emulators.h"

int main(int argc, char** argv) {
  using namespace motive::cuda::host;
  if (argc != 2) Job::stop("one folder must be given");
  const std::map<std::string, void (*)(Job&)> ops = {
      {"tensor_sketch", emulate_tensor_sketch},
      {"outer_sketch", emulate_outer_sketch},
      {"weighted_loss", emulate_weighted_loss},
      {"noise_latents", emulate_noise_latents},
      {"motion_weights", emulate_motion_weights},
      {"dense_projection", emulate_dense_projection},
      {"sjlt", emulate_sjlt},
      {"fastfood", emulate_fastfood},
      {"philox", emulate_philox},
      {"round", emulate_round},
  };
  Job job(argv[1]);
  const std::string name = job.word();
  const auto found = ops.find(name);
  if (found == ops.end()) Job::stop("unknown op " + name);
  try {
    found->second(job);
  } catch (const std::invalid_argument& error) {
    Job::stop(error.what());
  }
  return 0;
}
