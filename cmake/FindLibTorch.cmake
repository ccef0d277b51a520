# Finds LibTorch >= 2.7 without its own CMake package, which cannot be configured where the wheel was
# built against a CUDA toolkit that this machine lacks.
#
# The first that is new enough is taken, in this order: LibTorch_ROOT (-D or environment; nothing else is
# looked at then); CMAKE_PREFIX_PATH (the zip of the LibTorch site, conda); the `torch` that python3 imports;
# the environment that script/bootstrap made; a distribution's package.
#
# Targets: LibTorch::torch, and under SDPIPE_CUDA also LibTorch::torch_cuda, which is no more
# than LibTorch::torch where the GPU is simulated.
#
# script/bootstrap asks the same question with `cmake [-DSDPIPE_CUDA=ON] -P FindLibTorch.cmake`: the exit
# status says whether there is one.
set(_minimum 2.7)

# Sets <out> to the folders to look into, best first.
function(_libtorch_candidates out)
  set(explicit ${LibTorch_ROOT} $ENV{LibTorch_ROOT})
  if(explicit)
    set(${out} ${explicit} PARENT_SCOPE)
    return()
  endif()
  # Found without importing it, which takes seconds.
  execute_process(
    COMMAND python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(cache "$ENV{XDG_CACHE_HOME}")
  if(NOT cache)
    set(cache "$ENV{HOME}/.cache")
  endif()
  file(GLOB cpu "${cache}/sdpipe/libtorch-*-cpu/lib/python3*/site-packages/torch")
  file(GLOB cuda "${cache}/sdpipe/libtorch-*-cuda/lib/python3*/site-packages/torch")
  list(SORT cpu COMPARE NATURAL ORDER DESCENDING)
  list(SORT cuda COMPARE NATURAL ORDER DESCENDING)
  set(made ${cpu} ${cuda})
  if(SDPIPE_CUDA AND NOT SDPIPE_SIMULATED_CUDA)
    set(made ${cuda} ${cpu}) # the CPU one links as well, but lacks what running on a GPU needs
  endif()
  string(REPLACE ":" ";" environment_prefixes "$ENV{CMAKE_PREFIX_PATH}")
  set(${out} ${CMAKE_PREFIX_PATH} ${environment_prefixes} ${python_torch} ${made} /usr/local /usr PARENT_SCOPE)
endfunction()

# Sets <out> to the version of the LibTorch below `root`, empty where its headers or libraries are not there.
function(_libtorch_version root out)
  set(${out} "" PARENT_SCOPE)
  foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
    if(EXISTS "${root}/include/${header}")
      file(STRINGS "${root}/include/${header}" lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
      if("${lines}" MATCHES "MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+)")
        set(version "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3}")
      endif()
    endif()
  endforeach()
  file(GLOB libraries "${root}/lib/libtorch_cpu.so" "${root}/lib/*-linux-gnu/libtorch_cpu.so")
  if(SDPIPE_CUDA AND NOT SDPIPE_SIMULATED_CUDA)
    file(GLOB libraries "${root}/lib/libtorch_cuda.so" "${root}/lib/*-linux-gnu/libtorch_cuda.so")
  endif()
  if(libraries AND EXISTS "${root}/include/ATen/ATen.h")
    set(${out} "${version}" PARENT_SCOPE)
  endif()
endfunction()

_libtorch_candidates(_candidates)
set(LibTorch_FOLDER "")
set(_refused "")
foreach(_candidate ${_candidates})
  _libtorch_version("${_candidate}" _version)
  if(_version AND _version VERSION_GREATER_EQUAL _minimum)
    set(LibTorch_FOLDER "${_candidate}")
    set(LibTorch_VERSION "${_version}")
    break()
  elseif(_version)
    string(APPEND _refused " ${_candidate} holds version ${_version}, which has another C++ ABI.")
  elseif(LibTorch_ROOT OR DEFINED ENV{LibTorch_ROOT})
    string(APPEND _refused " LibTorch_ROOT is ${_candidate}, which holds none.")
  endif()
endforeach()
set(_reason "sdpipe needs LibTorch ${_minimum} or newer.${_refused} Run script/bootstrap, which \
installs one, or set LibTorch_ROOT to the folder that holds its include and lib.")

if(CMAKE_SCRIPT_MODE_FILE)
  if(NOT LibTorch_FOLDER)
    message(FATAL_ERROR "${_reason}")
  endif()
  return()
endif()

set(LibTorch_FOLDER "${LibTorch_FOLDER}" CACHE INTERNAL "The LibTorch in use; the scripts ask whether it is still there")
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_FOLDER VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "${_reason}")

if(LibTorch_FOUND AND NOT TARGET LibTorch::torch)
  file(GLOB LibTorch_LIBRARY_DIR "${LibTorch_FOLDER}/lib/libtorch_cpu.so" "${LibTorch_FOLDER}/lib/*-linux-gnu/libtorch_cpu.so")
  list(GET LibTorch_LIBRARY_DIR 0 LibTorch_LIBRARY_DIR)
  cmake_path(GET LibTorch_LIBRARY_DIR PARENT_PATH LibTorch_LIBRARY_DIR)
  add_library(LibTorch::torch INTERFACE IMPORTED)
  # -idirafter: the wheel's include folder holds its own fmt and others, which must not win over the system's.
  # For C++ alone: nvcc refuses it.
  target_compile_options(LibTorch::torch INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${LibTorch_FOLDER}/include>"
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${LibTorch_FOLDER}/include/torch/csrc/api/include>")
  # libtorch_cpu.so names libraries that only other parts of the wheel's dependencies bring.
  target_link_options(LibTorch::torch INTERFACE -Wl,--allow-shlib-undefined)
  target_link_libraries(LibTorch::torch INTERFACE "${LibTorch_LIBRARY_DIR}/libtorch_cpu.so" "${LibTorch_LIBRARY_DIR}/libc10.so")
  if(SDPIPE_CUDA)
    add_library(LibTorch::torch_cuda INTERFACE IMPORTED)
    target_link_libraries(LibTorch::torch_cuda INTERFACE LibTorch::torch)
    if(NOT SDPIPE_SIMULATED_CUDA)
      # Nothing refers to libtorch_cuda.so by name: it registers its kernels when it is loaded.
      target_link_options(LibTorch::torch_cuda INTERFACE -Wl,--no-as-needed)
      target_link_libraries(LibTorch::torch_cuda INTERFACE
        "${LibTorch_LIBRARY_DIR}/libtorch_cuda.so" "${LibTorch_LIBRARY_DIR}/libc10_cuda.so")
    endif()
  endif()
endif()
