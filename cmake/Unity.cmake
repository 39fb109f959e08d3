# Unity builds (CMAKE_UNITY_BUILD=ON, as in CMakePresets.json): LibTorch's headers, read once a folder instead of once a file, are
# most of what a build costs.

# unity_by_folder(<target>): its sources that lie in one folder are compiled together. Names in their anonymous namespaces must differ.
function(unity_by_folder target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD_MODE GROUP)
  get_target_property(sources ${target} SOURCES)
  foreach(source IN LISTS sources)
    get_filename_component(folder ${source} DIRECTORY)
    file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${folder})
    string(MAKE_C_IDENTIFIER ${folder} folder)
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${folder})
  endforeach()
endfunction()
