// Checks enlarged pictures with arithmetic of its own: a half-pixel bilinear resize in double precision that
// shares nothing with the library. Its subcommands also convert, shrink and compare pictures for
// scripts/demo.sh.
#include "picture.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

struct Image {
    int height = 0, width = 0;
    std::vector<float> pixels;
    double at(int y, int x, int channel) const {
        return pixels[(static_cast<std::size_t>(y) * width + x) * 3 + channel];
    }
};

Image read(const char *path) {
    picture p{};
    if (read_picture(path, &p) != 0) std::exit(1);
    const std::unique_ptr<float, void (*)(void *)> owner(p.pixels, std::free);
    return {p.height, p.width,
            std::vector<float>(p.pixels, p.pixels + static_cast<std::size_t>(p.height) * p.width * 3)};
}

int write(const char *path, Image image) {
    const picture p = {image.height, image.width, image.pixels.data()};
    return write_picture(path, &p);
}

int complain(const std::string &text) {
    std::fprintf(stderr, "check_pictures: %s\n", text.c_str());
    return 1;
}

// The two source pixels that a half-pixel bilinear resize mixes at `position`, and the share of the second;
// outside the picture the border pixel is repeated.
struct Mix {
    int first, second;
    double share;
};
Mix half_pixel(int position, int factor, int size) {
    const double source = (position + 0.5) / factor - 0.5;
    const double below = std::floor(source);
    const auto inside = [&](double at) { return static_cast<int>(std::clamp(at, 0.0, size - 1.0)); };
    return {inside(below), inside(below + 1), source - below};
}

// What zeros around the picture leave of a row or column: (f + 1 + 2 i) / (2 f) for the i-th of the outer
// floor(f / 2) from either side, all of it elsewhere.
double gain(int position, int factor, int size) {
    const int from_edge = std::min(position, size - 1 - position);
    return from_edge < factor / 2 ? (factor + 1 + 2.0 * from_edge) / (2.0 * factor) : 1.0;
}

// ENLARGED must be the half-pixel resize of SMALL away from the border, and that times the gain at it. A
// value is a sum of at most four products, so float32 may be off by a few roundings of its largest term.
int check_resize(const Image &small, const Image &large, int factor) {
    if (large.height != small.height * factor || large.width != small.width * factor) {
        return complain("the sizes do not fit the factor");
    }
    double largest_value = 0, error_inside = 0, error_border = 0, fade = 0;
    for (const float value : small.pixels)
        largest_value = std::max(largest_value, std::fabs(static_cast<double>(value)));
    const double bound = 8 * FLT_EPSILON * largest_value;
    for (int y = 0; y < large.height; y++) {
        const Mix my = half_pixel(y, factor, small.height);
        const double gain_y = gain(y, factor, large.height);
        for (int x = 0; x < large.width; x++) {
            const Mix mx = half_pixel(x, factor, small.width);
            const double gain_xy = gain_y * gain(x, factor, large.width);
            for (int c = 0; c < 3; c++) {
                const double above = small.at(my.first, mx.first, c) * (1 - mx.share) +
                                     small.at(my.first, mx.second, c) * mx.share;
                const double below = small.at(my.second, mx.first, c) * (1 - mx.share) +
                                     small.at(my.second, mx.second, c) * mx.share;
                const double resized = above * (1 - my.share) + below * my.share;
                const double error = std::fabs(large.at(y, x, c) - gain_xy * resized);
                if (!(error <= bound)) {
                    char text[160];
                    std::snprintf(text, sizeof text,
                                  "row %d, column %d, channel %d: expected %.9g, got %.9g, bound %.3g", y, x,
                                  c, gain_xy * resized, large.at(y, x, c), bound);
                    return complain(text);
                }
                double &worst = gain_xy == 1.0 ? error_inside : error_border;
                worst = std::max(worst, error);
                if (gain_xy != 1.0) fade = std::max(fade, std::fabs(resized - large.at(y, x, c)));
            }
        }
    }
    std::printf("  inside: equals a half-pixel resize in double precision, largest error %.1e, bound %.1e\n",
                error_inside, bound);
    std::printf(
        "  border: outer %d rows and columns fade by their gain (up to %.1f of 255), largest error %.1e\n",
        factor / 2, fade, error_border);
    return 0;
}

// Means of factor x factor squares; what is left of a row or column is dropped.
Image shrink(const Image &image, int factor) {
    Image result{image.height / factor, image.width / factor, {}};
    for (int y = 0; y < result.height; y++) {
        for (int x = 0; x < result.width; x++) {
            for (int c = 0; c < 3; c++) {
                double sum = 0;
                for (int i = 0; i < factor * factor; i++)
                    sum += image.at(y * factor + i / factor, x * factor + i % factor, c);
                result.pixels.push_back(static_cast<float>(sum / (factor * factor)));
            }
        }
    }
    return result;
}

// 10 log10(255^2 / mean squared error) over all channels of the pixels at least `margin` from the enlarged
// picture's edge.
double psnr(const Image &original, const Image &enlarged, int margin) {
    double sum = 0;
    std::size_t count = 0;
    for (int y = margin; y < enlarged.height - margin; y++) {
        for (int x = margin; x < enlarged.width - margin; x++) {
            for (int c = 0; c < 3; c++, count++)
                sum += std::pow(original.at(y, x, c) - enlarged.at(y, x, c), 2);
        }
    }
    return 10 * std::log10(255.0 * 255.0 * static_cast<double>(count) / sum);
}

int print_psnr(const Image &original, const Image &enlarged, int factor) {
    if (enlarged.height != original.height / factor * factor ||
        enlarged.width != original.width / factor * factor) {
        return complain("the sizes do not fit the factor");
    }
    const double whole = psnr(original, enlarged, 0), inside = psnr(original, enlarged, factor / 2);
    std::printf(
        "PSNR: %.2f dB, original shrunk %dx and enlarged again against itself; %.2f dB without its border\n",
        whole, factor, inside);
    return std::isfinite(whole) && inside >= whole
               ? 0
               : complain("the fade at the border must cost PSNR, not gain it");
}

// The two may differ by a few roundings: fused and separate multiply-adds round differently.
int compare(const Image &a, const Image &b) {
    if (a.height != b.height || a.width != b.width) return complain("the pictures differ in size");
    double largest = 0, value = 0;
    for (std::size_t i = 0; i < a.pixels.size(); i++) {
        const double difference = std::fabs(static_cast<double>(a.pixels[i]) - b.pixels[i]);
        value = std::max(value, std::fabs(static_cast<double>(a.pixels[i])));
        if (!(difference <= 8 * FLT_EPSILON * 255)) {
            return complain("value " + std::to_string(i) + ": " + std::to_string(a.pixels[i]) + " and " +
                            std::to_string(b.pixels[i]));
        }
        largest = std::max(largest, difference);
    }
    if (!(value > 0)) return complain("the pictures are black: nothing was compared");
    std::printf("  agrees with the x86-64 result: largest difference %.1e of 255 over %zu values\n", largest,
                a.pixels.size());
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    const std::string command = argc > 1 ? argv[1] : "";
    const int factor = argc == 5 ? std::atoi(argv[4]) : 0;
    if (argc == 5 && factor < 2) return complain("the factor must be at least 2");
    if (command == "convert" && argc == 4) return write(argv[3], read(argv[2]));
    if (command == "compare" && argc == 4) return compare(read(argv[2]), read(argv[3]));
    if (command == "resize" && argc == 5) return check_resize(read(argv[2]), read(argv[3]), factor);
    if (command == "psnr" && argc == 5) return print_psnr(read(argv[2]), read(argv[3]), factor);
    if (command == "shrink" && argc == 5) return write(argv[3], shrink(read(argv[2]), factor));
    std::fprintf(stderr,
                 "usage: check_pictures convert IN OUT | compare A B | resize SMALL ENLARGED FACTOR |\n"
                 "       psnr ORIGINAL ENLARGED FACTOR | shrink IN OUT FACTOR\n");
    return 2;
}
