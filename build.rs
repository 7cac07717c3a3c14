//! Has the binary find libtorch where it was at the build, under the feature `tch`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by `torch-sys`, for crates that name it as a dependency.
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
