# Sourced by the scripts beside it: the targets, and their corpora as they are in the repository: each
# line is an input in base64.

targets=(decode ejson session sockjs_frame sockjs_request websocket)

# Writes the inputs of a target into a folder, each as a file.
unpack() {
  local target=$1 folder=$2 line number=0
  mkdir -p "$folder"
  while IFS= read -r line; do
    number=$((number + 1))
    base64 --decode <<< "$line" > "$folder/$number"
  done < "corpus/$target.base64"
}

# Makes the files of a folder the corpus of a target.
pack() {
  local target=$1 folder=$2 file
  for file in "$folder"/*; do
    base64 --wrap=0 "$file"
    echo
  done | LC_ALL=C sort > "corpus/$target.base64"
}

# The option for libFuzzer that names the dictionary of a target, if it has one.
dictionary() {
  if [ -e "dictionaries/$1.dict" ]; then echo "-dict=dictionaries/$1.dict"; fi
}
