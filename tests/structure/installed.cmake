# Installs the build, moves the installation, and runs the program there, without LD_LIBRARY_PATH. Variables: BUILD, VERSION, SOVERSION,
# and the prefix's folders BINDIR, LIBDIR and DOCDIR.

function(run result)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGN}: ${status}\n${output}${errors}")
  endif()
  set(${result} "${output}" PARENT_SCOPE)
endfunction()

function(expect text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "no '${pattern}' in:\n${text}")
  endif()
endfunction()

set(moved "${BUILD}/installed-and-moved")
file(REMOVE_RECURSE "${moved}" "${BUILD}/installed-first")
run(output ${CMAKE_COMMAND} --install "${BUILD}" --prefix "${BUILD}/installed-first")
file(RENAME "${BUILD}/installed-first" "${moved}")
unset(ENV{LD_LIBRARY_PATH})
set(program "${moved}/${BINDIR}/respeft")

run(output "${program}" --version)
expect("${output}" "^respeft ${VERSION} ")
run(output "${program}" recipes)
expect("${output}" "rlrr/")

foreach(file IN ITEMS "${DOCDIR}/LICENSE" "${LIBDIR}/librespeft.so.${SOVERSION}" include/respeft/core/version.h)
  if(NOT EXISTS "${moved}/${file}")
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()
# The program takes the library beside it, not the one in the build folder.
file(RENAME "${moved}/${LIBDIR}" "${moved}/hidden")
execute_process(COMMAND "${program}" --version RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
if(status EQUAL 0)
  message(FATAL_ERROR "the installed program runs without the installed library")
endif()
file(REMOVE_RECURSE "${moved}")
