//! Notices that tell that something was not delivered (contract 3, and 7: `notice`).
//!
//! Promises: a name that somebody chose is not taken for `WeChat`'s own words: what stands between quotation marks does
//! not count, nor what goes on after the wording without a mark, nor the name in a notice of a new friend. A name may have
//! marks of its own in it: so a refusal is the whole sentence, but for the name that it may begin with, and there is no
//! quotation behind its wording.
//! Leaves to others: in which chat the notice came.

/// How notices in a chat begin that tell of a new friend: whose name follows, unquoted, chose it themselves.
pub const FRIENDSHIP_NOTICES: [&str; 3] = ["你已添加了", "你已新增", "You have added"];

/// The word of contract 7 for a message that the other side refused: with that its sentence ends.
const REFUSED: &str = "refused";

/// What `WeChat` says when the other side did not get what was sent, in lower case, and the word of contract 7 for it.
const WORDINGS: &[(&str, &str)] = &[
    ("被对方拒收了", REFUSED),
    ("被對方拒收了", REFUSED),
    ("rejected by the receiver", REFUSED),
    ("rejected by the recipient", REFUSED),
    ("开启了朋友验证", "not_friend"),
    ("開啟了朋友驗證", "not_friend"),
    ("开启了好友验证", "not_friend"),
    ("開啟了好友驗證", "not_friend"),
    ("has enabled friend confirmation", "not_friend"),
    ("has enabled friend verification", "not_friend"),
    ("发送消息过于频繁", "too_frequent"),
    ("發送消息過於頻繁", "too_frequent"),
    ("發送訊息過於頻繁", "too_frequent"),
    ("傳送訊息過於頻繁", "too_frequent"),
];

/// Quotation marks that come in pairs.
const PAIRS: [(char, char); 9] = [
    ('“', '”'),
    ('„', '”'),
    ('「', '」'),
    ('『', '』'),
    ('«', '»'),
    ('‹', '›'),
    ('《', '》'),
    ('〈', '〉'),
    ('【', '】'),
];
/// Quotation marks that open and close.
const SINGLES: [char; 2] = ['"', '＂'];

/// Whether a notice says that what was sent was refused.
pub(super) fn is_one(notice: &str) -> bool {
    word(notice).is_some()
}

/// How it was refused, as a word: `refused`, `not_friend`, `too_frequent`.
pub(super) fn word(notice: &str) -> Option<&'static str> {
    let notice = notice.trim();
    if FRIENDSHIP_NOTICES.iter().any(|start| notice.starts_with(start)) {
        return None;
    }
    let said = unquoted(&without_links(notice)).to_lowercase();
    let is_said = |(wording, word): &(&str, &str)| {
        said.match_indices(wording).any(|(at, _)| ends_here(&said[at + wording.len()..], *word == REFUSED))
    };
    WORDINGS.iter().find(|row| is_said(row)).map(|(_, word)| *word)
}

/// Whether a clause ends where `rest` begins: behind the wording WeChat puts a mark, or nothing; and no name follows. With
/// `is_last` the sentence ends there, too.
fn ends_here(rest: &str, is_last: bool) -> bool {
    let mut words = rest.trim_start().chars().map(char::is_alphanumeric);
    !rest.contains(is_mark) && if is_last { words.all(|is_word| !is_word) } else { words.next() != Some(true) }
}

/// The text without the marks of links, whose addresses stand in quotation marks.
fn without_links(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, length)) = ["<a ", "</a>"].iter().filter_map(|mark| link(rest, mark)).min() {
        out.push_str(&rest[..at]);
        rest = &rest[at + length..];
    }
    out + rest
}

/// Where the first mark that begins so stands, and how long it is.
fn link(text: &str, mark: &str) -> Option<(usize, usize)> {
    let at = text.find(mark)?;
    Some((at, text[at..].find('>')? + 1))
}

/// Whether a quotation stands there, or the end of one.
fn is_mark(c: char) -> bool {
    c == QUOTED || PAIRS.iter().any(|(_, close)| *close == c)
}

/// Stands for a quotation.
const QUOTED: char = '\u{fffc}';

/// The text with [`QUOTED`] for what stands between quotation marks; a quotation without an end goes to the text's end.
pub(super) fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut closing = None;
    for c in text.chars() {
        match closing {
            Some(end) if c == end => closing = None,
            Some(_) => {}
            None => {
                let close = PAIRS.iter().find(|(open, _)| *open == c).map(|(_, close)| *close);
                closing = close.or(SINGLES.contains(&c).then_some(c));
                // A mark, so that what stands on both sides does not become one word.
                out.push(if closing.is_some() { QUOTED } else { c });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_what_wechat_itself_says() {
        for notice in [
            "消息已发出，但被对方拒收了。",
            "消息已发出，但被对方拒收了",
            "訊息已傳出，但被對方拒收了。",
            "小明开启了朋友验证，你还不是他（她）朋友。请先发送朋友验证请求，对方验证通过后，才能聊天。",
            "“小明”开启了朋友验证，你还不是他（她）朋友。",
            "發送訊息過於頻繁，請稍後再試。",
            "发送消息过于频繁，等待对方接受你的好友请求后再发。",
            "Message successfully sent but rejected by the receiver.",
            "Ann has enabled Friend Confirmation. You are not her friend yet.",
            " 被对方拒收了 ",
            "小明开启了朋友验证，你还不是他（她）朋友。<a href=\"weixin://findfriend/verifycontact\">发送朋友验证</a>",
            "“a\" b”开启了朋友验证，你还不是他（她）朋友。",
        ] {
            assert!(is_one(notice), "{notice}");
        }
    }

    #[test]
    fn a_name_in_a_notice_is_no_refusal() {
        for notice in [
            "",
            "\"安娜\"邀请\"被对方拒收了\"加入了群聊",
            "“被对方拒收了”撤回了一条消息",
            "「被對方拒收了」拍了拍你",
            "『开启了朋友验证』拍了拍你",
            "«rejected by the receiver» recalled a message",
            "＂被对方拒收了＂拍了拍我",
            "\"被对方拒收了",
            "你已添加了被对方拒收了，现在可以开始聊天了。",
            "You have added rejected by the receiver, say hi",
            "被对方拒收了领取了你的红包",
            // Marks in the name.
            "\"a\" 被对方拒收了 \"b\" 撤回了一条消息",
            "“a”被对方拒收了“b” 撤回了一条消息",
            "\"a\" 开启了朋友验证，\" 拍了拍我",
            "你拍了拍 \"a\" 被对方拒收了\"",
            "你拍了拍 「a」 发送消息过于频繁，」",
            "a，被对方拒收了。领取了你的红包",
            "你撤回了一条消息",
            "以上是打招呼的内容",
        ] {
            assert!(!is_one(notice), "{notice}");
        }
    }
}
