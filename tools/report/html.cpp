// Small parts of the page.
#include "tools/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace unstride {

std::string escaped(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (const char c : text) {
        switch (c) {
        case '&':
            result += "&amp;";
            break;
        case '<':
            result += "&lt;";
            break;
        case '>':
            result += "&gt;";
            break;
        case '"':
            result += "&quot;";
            break;
        case '\'':
            result += "&#39;";
            break;
        default:
            // HTML has no other control characters than these
            if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') result += c;
        }
    }
    return result;
}

std::string percent_encoded(std::string_view text) {
    constexpr std::string_view plain = "-_.!~*(),:;/?@$+={}[]|^";
    std::string result;
    result.reserve(text.size() + text.size() / 4);
    for (const char c : text) {
        const bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (letter || plain.find(c) != std::string_view::npos)
            result += c;
        else if (c == '"')
            result += c; // the link stands between single quotes
        else
            result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return result;
}

std::string section(int number, const char *id, const char *title, const std::string &body) {
    return fmt::format("<section id=\"{}\"><h2><span class=\"no\">{}</span> {}</h2>\n{}</section>\n", id,
                       number, title, body);
}

std::string absent(const std::string &reason) {
    return fmt::format("<p class=\"absent\">{}</p>\n", escaped(reason));
}

std::string scrolling(const std::string &table) {
    return fmt::format("<div class=\"scroll\" tabindex=\"0\">{}</div>\n", table);
}

std::string figure_box(const std::string &svg, const std::string &caption) {
    return fmt::format(
        "<figure><div class=\"scroll\" tabindex=\"0\">{}</div><figcaption>{}</figcaption></figure>\n", svg,
        escaped(caption));
}

std::string details(bool open, const std::string &summary, const std::string &body) {
    return fmt::format("<details{}><summary>{}</summary>\n{}</details>\n", open ? " open" : "", summary,
                       body);
}

std::string pixels(double value) {
    std::string text = fmt::format("{:.1f}", value);
    if (text.ends_with(".0")) text.resize(text.size() - 2);
    return text;
}

PlotScale::PlotScale(double low, double high, double from, double to, bool logarithmic)
    : low_(low), high_(high), from_(from), to_(to), logarithmic_(logarithmic) {
    constexpr double most = 1e150; // quotients of any two values within it are finite
    low_ = std::clamp(low_, logarithmic ? 1 / most : -most, most);
    high_ = std::clamp(high_, logarithmic ? 1 / most : -most, most);
    if (!(high_ > low_)) high_ = logarithmic ? low_ * 2 : low_ + 1;
}

double PlotScale::operator()(double value) const {
    value = std::clamp(value, low_, high_);
    const double share =
        logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return from_ + share * (to_ - from_);
}

std::vector<double> PlotScale::ticks(int wanted) const {
    std::vector<double> result;
    const auto keep = [&](double value) {
        if (value >= low_ * (1 - 1e-9) && value <= high_ * (1 + 1e-9)) result.push_back(value);
    };
    if (logarithmic_ && high_ / low_ > 8) {
        const bool decades = std::log10(high_ / low_) > wanted / 2.0;
        const double last = std::ceil(std::log10(high_));
        for (double exponent = std::floor(std::log10(low_)); exponent <= last; exponent++) {
            for (const double digit : {1.0, 2.0, 5.0}) {
                if (digit == 1 || !decades) keep(digit * std::pow(10, exponent));
            }
        }
        return result;
    }
    const double rough = (high_ - low_) / wanted, decade = std::pow(10, std::floor(std::log10(rough)));
    double step = decade;
    for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
        step = factor * decade;
        if (step >= rough) break;
    }
    const double first = std::ceil(low_ / step);
    for (int i = 0; i <= wanted; i++) // no more steps fit: each is at least `rough`
        keep((first + i) * step);
    return result;
}

void Picture::line(double x1, double y1, double x2, double y2, const char *style) {
    body_ += fmt::format("<path class=\"{}\" d=\"M{} {}L{} {}\"/>", style, pixels(x1), pixels(y1), pixels(x2),
                         pixels(y2));
}

void Picture::rectangle(double x, double y, double width, double height, const char *style) {
    body_ += fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>", style,
                         pixels(x), pixels(y), pixels(width), pixels(height));
}

void Picture::text(double x, double y, std::string_view text, const char *style) {
    body_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\">{}</text>", style, pixels(x), pixels(y),
                         escaped(text));
}

void Picture::turned_text(double x, double y, std::string_view text, const char *style) {
    body_ += fmt::format("<text class=\"{}\" transform=\"translate({:.1f} {:.1f}) rotate(-90)\">{}</text>",
                         style, x, y, escaped(text));
}

void Picture::path(const std::string &data, const std::string &style) {
    body_ += fmt::format("<path class=\"{}\" d=\"{}\"/>", style, data);
}

void Picture::marker(double x, double y, std::size_t series, const std::string &title) {
    body_ += fmt::format("<path class=\"mark s{}\" d=\"{}\"><title>{}</title></path>", series % series_count,
                         marker_path(x, y, series, 4), escaped(title));
}

std::string Picture::finished() const {
    return fmt::format("<svg role=\"img\" aria-label=\"{}\" width=\"{:.0f}\" height=\"{:.0f}\" "
                       "viewBox=\"0 0 {:.0f} {:.0f}\">{}</svg>",
                       escaped(label_), width_, height_, width_, height_, body_);
}

std::string marker_path(double x, double y, std::size_t series, double r) {
    switch (series % series_count) {
    case 0: // circle
        return fmt::format("M{:.1f} {:.1f}a{} {} 0 1 0 {} 0a{} {} 0 1 0 {} 0z", x - r, y, r, r, 2 * r, r, r,
                           -2 * r);
    case 1: // square
        return fmt::format("M{:.1f} {:.1f}h{}v{}h{}z", x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r, -1.8 * r);
    case 2: // diamond
        return fmt::format("M{:.1f} {:.1f}l{} {}l{} {}l{} {}z", x, y - 1.25 * r, 1.25 * r, 1.25 * r,
                           -1.25 * r, 1.25 * r, -1.25 * r, -1.25 * r);
    case 3: // triangle
        return fmt::format("M{:.1f} {:.1f}l{} {}h{}z", x, y - 1.1 * r, 1.2 * r, 2.1 * r, -2.4 * r);
    case 4: // triangle on its tip
        return fmt::format("M{:.1f} {:.1f}l{} {}h{}z", x, y + 1.1 * r, 1.2 * r, -2.1 * r, -2.4 * r);
    default: // upright bar
        return fmt::format("M{:.1f} {:.1f}h{}v{}h{}z", x - 0.5 * r, y - 1.2 * r, r, 2.4 * r, -r);
    }
}

std::string legend(const std::vector<std::string> &names) {
    std::string items;
    for (std::size_t i = 0; i < names.size(); i++) {
        items +=
            fmt::format("<li><svg width=\"14\" height=\"14\" aria-hidden=\"true\"><path class=\"mark s{}\" "
                        "d=\"{}\"/></svg>{}</li>",
                        i % series_count, marker_path(7, 7, i, 4), escaped(names[i]));
    }
    return "<ul class=\"legend\">" + items + "</ul>\n";
}

} // namespace unstride
