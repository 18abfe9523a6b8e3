// Builds the console into dist/, which is committed so that the edge builds without Node.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2022",
    // No data: URLs in place of files: every asset is cached under its own hashed name.
    assetsInlineLimit: 0,
    // Every browser that runs the target has module preloading.
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
  },
});
