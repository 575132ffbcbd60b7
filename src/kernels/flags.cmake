# Each instruction set's kernels and limit probes, and nothing else, are compiled with its flags; never -march=native.
# -Wno-psabi: 64-byte vectors are passed by value only between functions that are always inlined.
set(kernels_cpu ${CMAKE_SOURCE_DIR}/src/kernels/cpu)
set_source_files_properties(${kernels_cpu}/target_generic.cc ${kernels_cpu}/peaks_generic.cc
                            ${kernels_cpu}/gemm_generic.cc PROPERTIES
  COMPILE_OPTIONS "-O3;-Wno-psabi")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(kernels_avx2 -mavx2 -mfma -mf16c)
  set(kernels_avx512 ${kernels_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512vnni
                     -mavx512bf16 -mprefer-vector-width=512)
  set_source_files_properties(${kernels_cpu}/target_avx2.cc ${kernels_cpu}/peaks_avx2.cc
                              ${kernels_cpu}/gemm_avx2.cc PROPERTIES
    COMPILE_OPTIONS "-O3;-Wno-psabi;${kernels_avx2}")
  set_source_files_properties(${kernels_cpu}/target_avx512.cc ${kernels_cpu}/peaks_avx512.cc
                              ${kernels_cpu}/gemm_avx512.cc PROPERTIES
    COMPILE_OPTIONS "-O3;-Wno-psabi;${kernels_avx512}")
endif()
