# sdpipe_plugin(NAME [SOURCE...] [TORCH])
#
# Builds NAME.sdp.so from SOURCE (default NAME.cpp): a shared module that exports one symbol.
# TORCH links LibTorch. In sdpipe's own tree the plugin lands in <build>/plugins.
set(SDPIPE_PLUGIN_EXPORTS "${CMAKE_CURRENT_LIST_DIR}/plugin_exports.map")

function(sdpipe_plugin name)
  cmake_parse_arguments(arg "TORCH" "" "" ${ARGN})
  if(NOT arg_UNPARSED_ARGUMENTS)
    set(arg_UNPARSED_ARGUMENTS ${name}.cpp)
  endif()
  add_library(${name} MODULE ${arg_UNPARSED_ARGUMENTS})
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".sdp.so"
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    CUDA_VISIBILITY_PRESET hidden)
  target_compile_features(${name} PRIVATE cxx_std_17)
  target_link_libraries(${name} PRIVATE sdpipe::abi)
  # One exported symbol: the version script hides weak std symbols too, and without unique symbols two
  # plugins share no state through the dynamic linker.
  target_compile_options(${name} PRIVATE $<$<AND:$<CXX_COMPILER_ID:GNU>,$<NOT:$<COMPILE_LANGUAGE:CUDA>>>:-fno-gnu-unique>
    $<$<AND:$<CXX_COMPILER_ID:GNU>,$<COMPILE_LANGUAGE:CUDA>>:-Xcompiler=-fno-gnu-unique>)
  target_link_options(${name} PRIVATE "-Wl,--version-script=${SDPIPE_PLUGIN_EXPORTS}")
  set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS "${SDPIPE_PLUGIN_EXPORTS}")
  if(arg_TORCH)
    target_compile_features(${name} PRIVATE cxx_std_20)
    target_link_libraries(${name} PRIVATE LibTorch::torch)
  endif()
endfunction()
