# How the targets of every folder are made: one library per folder, warnings are errors.
add_library(tercet_options INTERFACE)
target_compile_options(tercet_options INTERFACE -Wall -Wextra -Werror -Wno-unused-parameter)
target_include_directories(tercet_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(tercet_options INTERFACE TERCET_VERSION="${PROJECT_VERSION}")
target_link_libraries(tercet_options INTERFACE Threads::Threads)

set(TERCET_SANITIZER "" CACHE STRING "address, thread or empty")
if(NOT TERCET_SANITIZER STREQUAL "")
  # GCC sees ghosts in instrumented code, in the standard library's as well.
  add_compile_options(-Wno-maybe-uninitialized)
endif()
if(TERCET_SANITIZER STREQUAL "address")
  # Enums off the wire may have any value until they are checked; compilers give that a meaning (-fno-strict-enums).
  add_compile_options(-fsanitize=address,undefined -fno-sanitize=enum -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(TERCET_SANITIZER STREQUAL "thread")
  # -Wno-tsan: GCC warns that it does not understand std::atomic_thread_fence, which Boost uses.
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer -Wno-tsan)
  add_link_options(-fsanitize=thread)
elseif(NOT TERCET_SANITIZER STREQUAL "")
  message(FATAL_ERROR "TERCET_SANITIZER must be address, thread or empty, not '${TERCET_SANITIZER}'")
endif()

# Most of the time of a build goes into the headers (Thrift's, GoogleTest's, fmt's, the standard library's)
# that each source includes again: ten sources compiled as one take a third of their time. Where nobody
# waits for one changed file, as in tests/run, the targets marked UNITY are built so (preset release);
# elsewhere each source alone, which also finds an #include that is missing. A target can be marked when
# no two of its sources define the same name in their anonymous namespaces; a source that does is left out
# with tercet_compile_alone().
option(TERCET_UNITY "Compile the sources of targets marked UNITY together" OFF)
function(tercet_unity name)
  set_target_properties(${name} PROPERTIES UNITY_BUILD ${TERCET_UNITY} UNITY_BUILD_BATCH_SIZE 10)
endfunction()
function(tercet_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# tercet_library(NAME [UNITY] SOURCES … LINKS …): the library of one folder.
function(tercet_library name)
  cmake_parse_arguments(ARG "UNITY" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC tercet_options ${ARG_LINKS})
  if(ARG_UNITY)
    tercet_unity(${name})
  endif()
endfunction()

# tercet_binary(NAME [UNITY] SOURCES … LINKS …): a program, placed in bin/.
function(tercet_binary name)
  cmake_parse_arguments(ARG "UNITY" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tercet_options ${ARG_LINKS})
  if(ARG_UNITY)
    tercet_unity(${name})
  endif()
endfunction()
