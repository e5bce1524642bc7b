//! What WeChat's own sentences in rooms say: who came, went, was renamed, in simplified and traditional Chinese and in
//! English. Contract 7, Notices.
//!
//! Promises: a sentence is known only whole, from its first to its last word; what could be read in more than one way
//! (a name that holds the words of a sentence) names nobody. Names stay as they are written. Linear in the text for each
//! of a fixed number of patterns.
//! Leaves to others: whether it is WeChat that speaks, and the ids, which stand in XML (`notice`).

/// Longest sentence that is looked at, bytes: a room's five hundred names would fit.
const SENTENCE_BYTES_MAX: usize = 64 * 1024;

/// Most places at which one word of a pattern is looked for: a name that repeats it is ambiguous long before.
const PLACES_MAX: usize = 8;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Invited,
    /// Came in by a QR code.
    Scanned,
    /// Came in; how, it does not say.
    Joined,
    Removed,
    Left,
    Disbanded,
    Renamed,
    NewOwner,
    /// Somebody asks to be let in.
    Asks,
    /// Whoever is invited must be confirmed.
    ConfirmOn,
    ConfirmOff,
    Patted,
    Recalled,
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Whom it happened to.
    Who,
    /// Who did it.
    By,
    /// A room's new name.
    Name,
    /// Anything, or nothing.
    Rest,
}

/// A sentence as it was understood: parts of the text, with their quotation marks off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence<'t> {
    pub(super) what: What,
    /// Whom it happened to.
    pub(super) who: Vec<Whom<'t>>,
    /// Who did it.
    pub(super) by: Option<Whom<'t>>,
    /// A room's new name.
    pub(super) name: Option<&'t str>,
}

/// Somebody in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom<'t> {
    /// The account itself: `你`, `You`.
    Account,
    /// A name.
    Name(&'t str),
}

/// The patterns, in the letters of [`fold`]: simplified Chinese, straight quotation marks, small Latin letters.
/// `{w}` whom, `{b}` by whom, `{n}` a name, `{*}` whatever; a `|` parts two ways to say a word.
const PATTERNS: &[(What, &str)] = &[
    // First: its words hold those of an invitation.
    (
        What::ConfirmOn,
        "{b}已启用\"群聊邀请确认\"|启用了\"群聊邀请确认\"|已开启\"群聊邀请确认\"|开启了\"群聊邀请确认\"|已启用群聊邀请确认|已启用\"群组邀请确认\"|已开启\"群组邀请确认\"|已启用\"进群确认\"|已开启\"进群确认\"|已启用\"群聊加入确认\"{*}",
    ),
    (
        What::ConfirmOn,
        "{b} enabled \"group chat invitation confirmation\"|has enabled \"group chat invitation confirmation\"|enabled \"group invitation confirmation\"|has enabled \"group invitation confirmation\"|enabled group invitation confirmation|has enabled group invitation confirmation|enabled \"group invite confirmation\"|has enabled \"group invite confirmation\"|has enabled \"group invite approval\"|has turned on group invite confirmation|enabled invitation confirmation|has enabled invitation confirmation{*}",
    ),
    (
        What::ConfirmOff,
        "{b}已恢复默认进群方式|恢复了默认进群方式|已恢复默认入群方式|已恢复预设进群方式|已恢复预设加入方式|恢复了预设加入方式|已关闭\"群聊邀请确认\"|关闭了\"群聊邀请确认\"|已停用\"群聊邀请确认\"|停用了\"群聊邀请确认\"|已关闭\"群组邀请确认\"|已停用\"群组邀请确认\"|已关闭\"进群确认\"{*}",
    ),
    (
        What::ConfirmOff,
        "{b} disabled \"group chat invitation confirmation\"|has disabled \"group chat invitation confirmation\"|disabled \"group invitation confirmation\"|has disabled \"group invitation confirmation\"|disabled group invitation confirmation|has disabled group invitation confirmation|disabled \"group invite confirmation\"|has disabled \"group invite confirmation\"|has restored the default way of joining|has restored the default group joining method|disabled invitation confirmation|has disabled invitation confirmation{*}",
    ),
    (What::Asks, "{b}想邀请{w}加入群聊|加入了群聊|加入群组|进入群聊"),
    (What::Asks, "{b}想邀请{w}加入群聊,|加入群组,{*}"),
    (What::Asks, "{b} wants to invite|would like to invite {w} to the group chat|to join the group chat|to the group"),
    (What::Asks, "{w}申请加入群聊|请求加入群聊|申请加入群组|请求加入群组"),
    (What::Asks, "{w} requested to join the group chat|requests to join the group chat|asks to join the group chat"),
    (What::Invited, "{b}邀请{w}加入了群聊|加入群聊|加入了群组|加入群组|进入了群聊|进入群聊"),
    (
        What::Invited,
        "{b}邀请{w}加入了群聊,群聊参与人还有:|加入了群组,群组参与人还有:|加入群聊,群聊参与人还有:|加入群组,群组成员还有:|加入了群组,群组成员还有:|加入了群组,群组参与者还有:|加入了群组,群组参与者有:|加入群组,群组参与者还有:|加入群组,群组参与者有:|加入群组,群组成员包括:|加入了群组,群组成员包括:|加入群组,群组参与者包括:|加入了群组,群组参与者包括:{*}",
    ),
    (What::Invited, "{b} invited {w} to the group chat|to the group|to join the group chat|to a group chat"),
    (What::Invited, "{b} invited {w} to a group chat with|to the group chat with{*}"),
    (What::Invited, "{b} added {w} to the group chat|to the group"),
    (
        What::Scanned,
        "{w}通过扫描{b}分享的二维码加入群聊|分享的二维码加入了群聊|分享的 qr code 加入群组|分享的 qr code 加入群聊|分享的qr code加入群组|分享的qr code加入群聊|分享的二维码加入群组|分享的二维码加入了群组|分享的行动条码加入群组|分享的行动条码加入群聊",
    ),
    (
        What::Scanned,
        "{w}通过{b}分享的二维码加入群聊|分享的二维码加入了群聊|分享的 qr code 加入群组|分享的 qr code 加入群聊|分享的qr code加入群组|分享的qr code加入群聊",
    ),
    (What::Scanned, "{w}通过扫描二维码加入群聊|通过扫描二维码加入了群聊|通过扫描二维码加入群组"),
    (
        What::Scanned,
        "{w}通过扫描二维码加入群聊,群聊参与人还有:|通过扫描二维码加入了群聊,群聊参与人还有:|通过扫描二维码加入群组,群组成员还有:|通过扫描 qr code 加入群组,群组成员还有:{*}",
    ),
    (
        What::Scanned,
        "{w}通过扫描{b}分享的二维码加入群聊,群聊参与人还有:|分享的二维码加入了群聊,群聊参与人还有:|分享的二维码加入群组,群组成员还有:|分享的 qr code 加入群组,群组成员还有:{*}",
    ),
    (
        What::Scanned,
        "{w} joined the group chat via the qr code shared by|joined group chat via the qr code shared by|joined the group chat via qr code shared by|joined group chat via qr code shared by|joined the group chat by scanning the qr code shared by|joined the group via the qr code shared by {b}",
    ),
    (What::Joined, "\"{w}\"加入了群聊|\"加入群聊|\"加入了群组|\"加入群组|\"进入了群聊"),
    (What::Joined, "\"{w}\" joined the group chat|\" has joined the group chat|\" joined the group"),
    (What::Removed, "{b}将{w}移出了群聊|移出群聊|移出了群组|移出群组"),
    (What::Removed, "{b}把{w}移出了群聊|移出群聊|移出了群组|移出群组"),
    (What::Removed, "{w}被{b}移出群聊|移出了群聊|移出群组|移出了群组"),
    (
        What::Removed,
        "{w}被移出群聊|已被移出群聊|被移出了群聊|已经被移出群聊|被移出群组|已被移出群组|已经被移出群组|已被移除群聊",
    ),
    (
        What::Removed,
        "{w} was removed from the group chat|were removed from the group chat|have been removed from the group chat|has been removed from the group chat|were removed from the group",
    ),
    (
        What::Removed,
        "{w} was removed from the group chat by|were removed from the group chat by|has been removed from the group chat by|was removed from the group by|were removed from the group by {b}",
    ),
    (What::Removed, "{b} removed {w} from the group chat|from the group"),
    (What::Left, "{w}退出了群聊|退出群聊|已退出群聊|退出了群组|退出群组|已退出群组|离开了群聊|离开了群组"),
    (What::Left, "{w} left the group chat|has left the group chat|left the group|has left the group"),
    (What::Disbanded, "群主{b}解散了该群聊|已解散该群聊|解散了群聊|已解散群聊"),
    (
        What::Disbanded,
        "{b}解散了该群聊|已解散该群聊|解散了此群聊|解散了群聊|已解散群聊|解散了群组|已解散群组|已解散该群组",
    ),
    (What::Disbanded, "该群聊已解散|该群已解散|群聊已解散|该群聊已被解散|群聊已被解散|群组已解散|该群组已解散"),
    (
        What::Disbanded,
        "{b} disbanded the group chat|has disbanded the group chat|disbanded this group chat|has disbanded this group chat|disbanded the group|dismissed the group chat|has dismissed the group chat",
    ),
    (
        What::Disbanded,
        "the group chat has been disbanded|this group chat has been disbanded|the group chat was disbanded|this group has been disbanded",
    ),
    (
        What::Renamed,
        "{b}修改群名为|修改了群名为|修改群聊名称为|修改群聊名为|修改群组名称为|修改群组名为|将群名修改为|将群聊名称修改为|将群名改为|把群名改为|将群组名称改为|将群组名称修改为|更改群组名称为|变更群组名称为{n}",
    ),
    (
        What::Renamed,
        "{b} changed the group name to|changed group name to|changed the group chat name to|renamed the group chat to|renamed the group to|changed the name of the group to|set the group name to {n}",
    ),
    (What::NewOwner, "{w}已成为新群主|成为新群主|成为了新群主|已成为新的群主|成为新的群主|已成为群主|成为群主"),
    (What::NewOwner, "{b}将群主转让给|已将群主转让给|把群主转让给{w}"),
    (
        What::NewOwner,
        "{w} is now the group owner|is the new group owner|has become the new group owner|became the new group owner|has become the group owner|became the group owner|are now the group owner|are the new group owner|have become the new group owner",
    ),
    (What::Patted, "{b}拍了拍{w}"),
    (What::Patted, "{b} tickled|nudged|patted {w}"),
    (
        What::Recalled,
        "{b}撤回了一条消息|收回了一则讯息|撤回了一则讯息|收回了一条消息|已收回一则讯息|收回讯息|撤回一条消息",
    ),
    (What::Recalled, "{b} recalled a message|has recalled a message|unsent a message"),
];

/// The account, in front of others; as the patterns spell it.
const ALSO: &[&str] = &["你和", "你、", "you and ", "you, "];

/// Who is nobody in particular: the office, not a person.
const OFFICES: &[&str] =
    &["群主", "群主或群管理员", "群管理员", "群主或管理员", "管理员", "the group owner", "group owner", "the owner"];

/// What a sentence says; `None` for one that is not known.
pub(super) fn read(text: &str) -> Option<Sentence<'_>> {
    let text = ended(text);
    if text.is_empty() || text.len() > SENTENCE_BYTES_MAX {
        return None;
    }
    let folded = Folded::of(text);
    PATTERNS.iter().find_map(|(what, pattern)| understood(*what, pattern, text, &folded))
}

/// The sentence without blanks around it, without its full stop, and without the button behind it, which WeChat sets off
/// with blanks (`加入了群聊  撤销`).
fn ended(text: &str) -> &str {
    const BUTTON_CHARS_MAX: usize = 8;
    let mut text = text.trim();
    if let Some((sentence, button)) = text.rsplit_once("  ")
        && button.chars().count() <= BUTTON_CHARS_MAX
        && !button.chars().any(is_mark)
        && !sentence.trim().is_empty()
    {
        text = sentence.trim_end();
    }
    text.trim_end_matches(['。', '.', '．', '！', '!']).trim_end()
}

/// A text letter by letter, as patterns spell it, with the place of each letter in the text.
struct Folded {
    text: String,
    /// For each byte of `text` at which a letter begins: where that letter begins in the original; and the original's end.
    places: Vec<usize>,
}

impl Folded {
    fn of(text: &str) -> Self {
        let (mut out, mut places) = (String::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        for (at, letter) in text.char_indices() {
            let start = out.len();
            out.push(fold(letter));
            places.resize(start + 1, at);
            places.resize(out.len(), at);
        }
        places.push(text.len());
        Self { text: out, places }
    }

    /// That part of the original.
    fn original<'t>(&self, text: &'t str, from: usize, to: usize) -> &'t str {
        let (from, to) = (self.places.get(from), self.places.get(to));
        from.zip(to).and_then(|(from, to)| text.get(*from..*to)).unwrap_or_default().trim()
    }
}

/// Traditional letters, and how the patterns spell them; a courtesy is a `你` as well.
const LETTERS: [&str; 2] = [
    "請組過透掃碼維條將離開進稱為變動與參還員該啟啓確認關閉復預設則訊個轉讓給經您",
    "请组过通扫码维条将离开进称为变动与参还员该启启确认关闭复预设则讯个转让给经你",
];

/// A letter as the patterns spell it.
fn fold(letter: char) -> char {
    match letter {
        '，' => ',',
        '：' => ':',
        '\u{a0}' | '\u{3000}' => ' ',
        _ if is_mark(letter) => '"',
        _ if letter.is_ascii() => letter.to_ascii_lowercase(),
        _ => LETTERS[0].chars().zip(LETTERS[1].chars()).find(|(from, _)| *from == letter).map_or(letter, |(_, to)| to),
    }
}

/// Whether it is a quotation mark.
fn is_mark(letter: char) -> bool {
    matches!(letter, '"' | '“' | '”' | '„' | '‟' | '＂' | '「' | '」' | '『' | '』' | '«' | '»')
}

/// A pattern, taken apart.
#[derive(Debug)]
enum Part<'p> {
    /// One of these words.
    Words(Vec<&'p str>),
    Slot(Slot),
}

fn parts(pattern: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
        if !text.is_empty() {
            parts.push(Part::Words(text.split('|').map(str::trim).collect()));
        }
        let Some((slot, after)) = after.split_once('}') else { break };
        parts.push(Part::Slot(match slot {
            "w" => Slot::Who,
            "b" => Slot::By,
            "n" => Slot::Name,
            _ => Slot::Rest,
        }));
        rest = after;
    }
    parts
}

/// One way to read a sentence: which parts of the text the slots hold, and how many bytes are the pattern's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fitting {
    slots: Vec<(Slot, usize, usize)>,
    words: usize,
}

/// The one way in which a text fits a pattern; of several that one with the longest words, if it is one.
fn understood<'t>(what: What, pattern: &str, text: &'t str, folded: &Folded) -> Option<Sentence<'t>> {
    let parts = parts(pattern);
    let mut readings = Vec::new();
    fit(&parts, &folded.text, 0, &Fitting::default(), &mut readings);
    let words = readings.iter().map(|reading| reading.words).max()?;
    readings.retain(|reading| reading.words == words);
    let mut sentence = Sentence { what, who: Vec::new(), by: None, name: None };
    let [reading] = &readings[..] else { return Some(sentence) };
    let english = pattern.is_ascii();
    for &(slot, from, to) in &reading.slots {
        let part = folded.original(text, from, to);
        match slot {
            // `"A" by way of "B" joined`: that is no name.
            Slot::Who if what == What::Joined && part.replace("\"、\"", "").contains(is_mark) => return None,
            Slot::Who => sentence.who = people(part, english),
            Slot::By => sentence.by = Some(part).filter(|by| !is_office(by)).map(somebody),
            Slot::Name => sentence.name = Some(unquoted(part)),
            Slot::Rest => {}
        }
    }
    Some(sentence)
}

/// Collects the ways in which `text` fits from `at` on.
fn fit(parts: &[Part<'_>], text: &str, at: usize, so_far: &Fitting, found: &mut Vec<Fitting>) {
    if found.len() > PLACES_MAX {
        return;
    }
    match parts {
        [] if at == text.len() => found.push(so_far.clone()),
        [] => {}
        [Part::Words(words), rest @ ..] => {
            let blanks = text[at..].len() - text[at..].trim_start().len();
            for word in words.iter().filter(|word| text[at + blanks..].starts_with(**word)) {
                let end = at + blanks + word.len();
                if is_apart(text, at + blanks, end) {
                    fit(rest, text, end, &Fitting { words: so_far.words + word.len(), ..so_far.clone() }, found);
                }
            }
        }
        [Part::Slot(slot)] => keep(*slot, text, (at, text.len()), so_far, |fitting| found.push(fitting)),
        [Part::Slot(slot), Part::Words(words), rest @ ..] => {
            let places = words.iter().flat_map(|word| {
                text[at..]
                    .match_indices(word)
                    .take(PLACES_MAX)
                    .map(|(offset, _)| (at + offset, at + offset + word.len()))
            });
            for (start, end) in places.filter(|(start, end)| is_apart(text, *start, *end)) {
                keep(*slot, text, (at, start), so_far, |mut fitting| {
                    fitting.words += end - start;
                    fit(rest, text, end, &fitting, found);
                });
            }
        }
        // Two slots in a row tell nothing apart.
        [Part::Slot(_), ..] => {}
    }
}

/// Whether words of Latin letters stand apart from what is beside them.
fn is_apart(text: &str, start: usize, end: usize) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let first = text[start..end].chars().next();
    let last = text[start..end].chars().next_back();
    let before = is_letter(first) && is_letter(text[..start].chars().next_back());
    let after = is_letter(last) && is_letter(text[end..].chars().next());
    !before && !after
}

/// Goes on with what a slot holds, where it can hold it: quotation marks come in pairs, and only what may be anything may
/// be nothing.
fn keep(slot: Slot, text: &str, (from, to): (usize, usize), so_far: &Fitting, go_on: impl FnOnce(Fitting)) {
    let part = text[from..to].trim();
    // `你和"老王"`: the marks are those of the others.
    let others = ALSO.iter().find_map(|also| part.strip_prefix(also)).filter(|_| slot == Slot::Who).unwrap_or(part);
    let is_whole = !others.is_empty() && others != "\"" && others.starts_with('"') == others.ends_with('"');
    if slot == Slot::Rest || is_whole {
        let mut reading = so_far.clone();
        reading.slots.push((slot, from, to));
        go_on(reading);
    }
}

/// Whether it is whoever has an office in the room.
fn is_office(by: &str) -> bool {
    OFFICES.iter().any(|office| office.eq_ignore_ascii_case(by))
}

/// A name without the quotation marks around it.
fn unquoted(name: &str) -> &str {
    let name = name.trim();
    let inside = name.strip_prefix(is_mark).and_then(|name| name.strip_suffix(is_mark));
    inside.unwrap_or(name).trim()
}

/// What the account is called in sentences to it.
fn is_account(word: &str) -> bool {
    matches!(word, "你" | "您" | "我" | "You" | "you" | "I" | "me" | "You've" | "You’ve" | "You have" | "I've" | "I’ve")
}

fn somebody(part: &str) -> Whom<'_> {
    if is_account(part) { Whom::Account } else { Whom::Name(unquoted(part)) }
}

/// The people of a list: `你和"老王、Zoe"`, `"老王"、"Zoe"`. A name that holds the list's own comma cannot be told from two.
fn people(list: &str, english: bool) -> Vec<Whom<'_>> {
    let mut people = Vec::new();
    let mut rest = list.trim();
    let also =
        |also: &&&str| rest.get(..also.len()).is_some_and(|start| start.replace('您', "你").eq_ignore_ascii_case(also));
    if let Some(also) = ALSO.iter().find(also) {
        people.push(Whom::Account);
        rest = rest[also.len()..].trim();
    }
    if is_account(rest) {
        people.push(Whom::Account);
        return people;
    }
    let commas: &[&str] = if english { &["、", ", "] } else { &["、"] };
    let mut names = vec![unquoted(rest)];
    for comma in commas {
        names = names.iter().flat_map(|name| name.split(comma)).collect();
    }
    // Each in its own quotation marks, rather than all in one pair.
    for at in 1..names.len() {
        if let (Some(before), Some(after)) = (names[at - 1].strip_suffix(is_mark), names[at].strip_prefix(is_mark)) {
            (names[at - 1], names[at]) = (before, after);
        }
    }
    people.extend(names.into_iter().map(str::trim).filter(|name| !name.is_empty()).map(Whom::Name));
    people
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `what | by | who, who | name`, as one line.
    fn told(text: &str) -> String {
        let named = |named: &Whom<'_>| match named {
            Whom::Account => "@".to_owned(),
            Whom::Name(name) => (*name).to_owned(),
        };
        match read(text) {
            None => "-".to_owned(),
            Some(Sentence { what, who, by, name }) => {
                let who: Vec<_> = who.iter().map(named).collect();
                let by = by.as_ref().map(named).unwrap_or_default();
                format!("{what:?}|{by}|{}|{}", who.join("/"), name.unwrap_or_default())
            }
        }
    }

    #[test]
    fn who_came_and_who_brought_them() {
        for (text, right) in [
            ("\"安娜\"邀请\"老王、Zoe\"加入了群聊", "Invited|安娜|老王/Zoe|"),
            ("你邀请\"安娜、老王\"加入了群聊  ", "Invited|@|安娜/老王|"),
            ("你邀请\"安娜\"加入了群聊  撤销", "Invited|@|安娜|"),
            ("\"安娜\"邀请你和\"老王、Zoe\"加入了群聊", "Invited|安娜|@/老王/Zoe|"),
            ("\"安娜\"邀请你加入了群聊，群聊参与人还有：老王、Zoe", "Invited|安娜|@|"),
            ("「安娜」邀請「老王」加入了群組", "Invited|安娜|老王|"),
            ("「安娜」邀請您加入群組，群組成員還有：老王", "Invited|安娜|@|"),
            ("\"Ann\" invited \"Bob, 老王\" to the group chat", "Invited|Ann|Bob/老王|"),
            ("You invited Bob to the group chat.", "Invited|@|Bob|"),
            ("Ann invited you to a group chat with Bob, Zoe", "Invited|Ann|@|"),
            ("Ann invited you and Bob to the group chat", "Invited|Ann|@/Bob|"),
            ("\" 老王、Zoe\"通过扫描\"安娜\"分享的二维码加入群聊", "Scanned|安娜|老王/Zoe|"),
            ("「老王」透過掃描「安娜」分享的 QR Code 加入群組", "Scanned|安娜|老王|"),
            ("\"Bob\" joined the group chat via the QR Code shared by \"Ann\"", "Scanned|Ann|Bob|"),
            ("\"Bob\" joined group chat via the QR code shared by you", "Scanned|@|Bob|"),
            ("你通过扫描二维码加入群聊", "Scanned||@|"),
            ("\"A\"邀请\"B\"、\"C\"加入了群聊", "Invited|A|B/C|"),
            ("\"\"酷\"哥\"邀请\"$5打车\"加入了群聊", "Invited|\"酷\"哥|$5打车|"),
        ] {
            assert_eq!(told(text), right, "{text}");
        }
    }

    #[test]
    fn who_went_and_how() {
        for (text, right) in [
            ("你将\"老王\"移出了群聊", "Removed|@|老王|"),
            ("你被\"安娜\"移出群聊", "Removed|安娜|@|"),
            ("\"安娜\"将\"老王、Zoe\"移出了群聊", "Removed|安娜|老王/Zoe|"),
            ("「安娜」將「老王」移出了群組", "Removed|安娜|老王|"),
            ("You removed \"Bob\" from the group chat", "Removed|@|Bob|"),
            ("You were removed from the group chat by \"Ann\"", "Removed|Ann|@|"),
            ("\"老王\"退出了群聊", "Left||老王|"),
            ("\"老王\"已退出群聊", "Left||老王|"),
            ("老王已退出群聊", "Left||老王|"),
            ("\"Bob\" left the group chat.", "Left||Bob|"),
            ("群主已解散该群聊", "Disbanded|||"),
            ("\"安娜\"已解散该群聊", "Disbanded|安娜||"),
            ("该群聊已解散", "Disbanded|||"),
            ("The group chat has been disbanded.", "Disbanded|||"),
        ] {
            assert_eq!(told(text), right, "{text}");
        }
    }

    #[test]
    fn names_owners_and_the_door() {
        for (text, right) in [
            ("\"安娜\"修改群名为“新群 & <名>”", "Renamed|安娜||新群 & <名>"),
            ("你修改群名为“a”", "Renamed|@||a"),
            ("「安娜」修改群組名稱為「新“群”」", "Renamed|安娜||新“群”"),
            ("\"Ann\" changed the group name to \"Hike, 2024\"", "Renamed|Ann||Hike, 2024"),
            ("You changed the group name to a.b", "Renamed|@||a.b"),
            ("你已成为新群主", "NewOwner||@|"),
            ("\"安娜\"已成为新群主", "NewOwner||安娜|"),
            ("「安娜」已成為新群主", "NewOwner||安娜|"),
            ("You are now the group owner", "NewOwner||@|"),
            ("群主已启用“群聊邀请确认”，群成员需经群主确认才可邀请朋友进群。", "ConfirmOn|||"),
            ("\"安娜\"已启用“群聊邀请确认”，群成员需经群主或群管理员确认才可邀请朋友进群。", "ConfirmOn|安娜||"),
            ("群主已恢复默认进群方式。", "ConfirmOff|||"),
            ("你已恢复默认进群方式", "ConfirmOff|@||"),
            ("\"安娜\"想邀请\"老王\"加入群聊", "Asks|安娜|老王|"),
        ] {
            assert_eq!(told(text), right, "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_sentence_is_none() {
        for text in [
            "",
            "加入了群聊",
            "邀请加入了群聊",
            "我觉得\"A\"邀请\"B\"加入了群聊很好",
            "消息已发出，但被对方拒收了。",
            "\"邀请\"加入了群聊的人",
            "Uninvited Bob to the group chatter",
            "\"A\"邀请\"B加入了群聊",
            "修改群名为",
            "退出了群聊",
        ] {
            assert_eq!(told(text), "-", "{text}");
        }
    }

    #[test]
    fn a_name_that_holds_the_words_of_a_sentence_names_nobody() {
        assert_eq!(told("\"x\"邀请\"y\"邀请\"z\"加入了群聊"), "Invited|||");
        assert_eq!(told("\"x\" invited \"y\" invited \"z\" to the group chat"), "Invited|||");
    }
}
