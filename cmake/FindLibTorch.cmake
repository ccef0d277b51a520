# Finds LibTorch >= 2.7 without its own CMake package, which cannot be configured where the wheel was
# built against a CUDA toolkit that this machine lacks.
#
# Looked for in this order: -DLibTorch_ROOT= or CMAKE_PREFIX_PATH (the zip of the LibTorch site, conda, a
# distribution's package); the `torch` that python3 imports; the environment that script/bootstrap made.
#
# Targets: LibTorch::torch, and under SDPIPE_CUDA also LibTorch::torch_cuda.
include(FindPackageHandleStandardArgs)

set(_sdpipe_cache "$ENV{XDG_CACHE_HOME}")
if(NOT _sdpipe_cache)
  set(_sdpipe_cache "$ENV{HOME}/.cache")
endif()

set(_hints ${LibTorch_ROOT})
if(NOT _hints)
  find_path(_prefix_include ATen/ATen.h PATH_SUFFIXES include NO_CACHE)
  if(_prefix_include)
    cmake_path(GET _prefix_include PARENT_PATH _hints)
  endif()
endif()
if(NOT _hints)
  execute_process(COMMAND python3 -c "import torch, os; print(os.path.dirname(torch.__file__))"
    OUTPUT_VARIABLE _hints OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT _hints)
  file(GLOB _hints "${_sdpipe_cache}/sdpipe/libtorch-*/lib/python3*/site-packages/torch")
  list(SORT _hints ORDER DESCENDING)
endif()

find_path(LibTorch_INCLUDE_DIR ATen/ATen.h HINTS ${_hints} PATH_SUFFIXES include NO_DEFAULT_PATH)
foreach(_lib torch torch_cpu c10 torch_cuda c10_cuda)
  find_library(LibTorch_${_lib} ${_lib} HINTS ${_hints} PATH_SUFFIXES lib NO_DEFAULT_PATH)
endforeach()
if(LibTorch_INCLUDE_DIR)
  find_file(_version_header version.h NO_CACHE NO_DEFAULT_PATH
    HINTS "${LibTorch_INCLUDE_DIR}/torch/headeronly" "${LibTorch_INCLUDE_DIR}/torch/csrc/api/include/torch")
  if(_version_header)
    file(STRINGS "${_version_header}" _version REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
    string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" LibTorch_VERSION "${_version}")
  endif()
endif()

find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_INCLUDE_DIR LibTorch_torch_cpu LibTorch_c10 VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "Run script/bootstrap, or pass -DLibTorch_ROOT=DIR with LibTorch 2.7 or newer (older ones use another C++ ABI).")

if(LibTorch_FOUND AND NOT TARGET LibTorch::torch)
  # -idirafter: the wheel's include folder holds its own fmt and others, which must not win over the system's.
  set(_idirafter
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${LibTorch_INCLUDE_DIR}>"
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include>")
  add_library(LibTorch::torch INTERFACE IMPORTED)
  target_compile_options(LibTorch::torch INTERFACE ${_idirafter})
  target_link_options(LibTorch::torch INTERFACE -Wl,--allow-shlib-undefined)
  cmake_path(GET LibTorch_torch_cpu PARENT_PATH LibTorch_LIBRARY_DIR)
  target_link_libraries(LibTorch::torch INTERFACE ${LibTorch_torch_cpu} ${LibTorch_c10})
  if(SDPIPE_CUDA)
    add_library(LibTorch::torch_cuda INTERFACE IMPORTED)
    target_link_options(LibTorch::torch_cuda INTERFACE -Wl,--no-as-needed)
    target_link_libraries(LibTorch::torch_cuda INTERFACE LibTorch::torch ${LibTorch_torch_cuda} ${LibTorch_c10_cuda})
  endif()
endif()
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_torch LibTorch_torch_cpu LibTorch_c10 LibTorch_torch_cuda LibTorch_c10_cuda)
