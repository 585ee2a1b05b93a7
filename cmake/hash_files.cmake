# cmake -D FOLDER=… -D FILES=a,b,… -D HEADER=… -P hash_files.cmake: writes a header with the SHA-256 of the
# names and contents of the files.
string(REPLACE "," ";" FILES "${FILES}")
list(SORT FILES)
set(contents "")
foreach (file IN LISTS FILES)
    file(SHA256 ${FOLDER}/${file} hash)
    string(APPEND contents "${file} ${hash}\n")
endforeach ()
string(SHA256 hash "${contents}")
file(CONFIGURE OUTPUT ${HEADER} CONTENT "// Of the generators' sources.\n#define UNSTRIDE_GENERATOR_SOURCES \"@hash@\"\n" @ONLY)
