# The row kernels of each instruction set are compiled with its flags, as those of kernels/ are.
set(train_rows ${CMAKE_SOURCE_DIR}/src/train/ops/cpu)
set_source_files_properties(${train_rows}/rows_generic.cc PROPERTIES COMPILE_OPTIONS "-O3;-Wno-psabi")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(train_avx2 -mavx2 -mfma -mf16c)
  set(train_avx512 ${train_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
  set_source_files_properties(${train_rows}/rows_avx2.cc PROPERTIES
    COMPILE_OPTIONS "-O3;-Wno-psabi;${train_avx2}")
  set_source_files_properties(${train_rows}/rows_avx512.cc PROPERTIES
    COMPILE_OPTIONS "-O3;-Wno-psabi;${train_avx512}")
endif()
