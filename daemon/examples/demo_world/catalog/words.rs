//! The word lists that the mall's products are made of, and the Chinese phrases printed on their pictures with
//! their Korean meaning. Data only.

/// A shelf of the mall.
pub struct Category {
    /// Short latin name, stable.
    pub key: &'static str,
    /// The trend API's category id under which its keywords appear.
    pub cid: &'static str,
    /// Korean name, as the mall shows it.
    pub name: &'static str,
    /// Product nouns; the first is used by most products of the shelf.
    pub nouns: &'static [&'static str],
    /// What the products are made of.
    pub materials: &'static [&'static str],
    /// What the sellers say of them.
    pub adjectives: &'static [&'static str],
    /// Sizes or models, the last word of a title.
    pub sizes: &'static [&'static str],
    /// Lowest and highest price in won.
    pub price: (u64, u64),
    /// Chinese phrases on the pictures, with the Korean translation.
    pub phrases: &'static [(&'static str, &'static str)],
}

/// Brand names; invented.
pub const BRANDS: &[&str] = &[
    "모노윤",
    "라온홈",
    "온새미",
    "하루결",
    "노을빛",
    "아람찬",
    "소담뜰",
    "미르벨",
    "가온누리",
    "다솜앤",
    "루디안",
    "베니아",
    "오브제리",
    "해오름",
    "이든하우스",
    "포레나인",
];

/// Option colours.
pub const COLOURS: &[&str] = &[
    "블랙",
    "아이보리",
    "그레이",
    "네이비",
    "베이지",
    "카키",
    "핑크",
    "브라운",
    "민트",
    "버건디",
];

/// Keywords that people search for and that the mall does not sell.
pub const UNSOLD: &[&str] = &[
    "제주도 항공권",
    "콘서트 예매",
    "온라인 상품권",
    "중고차 시세",
];

/// Phrases that fit every product.
pub const COMMON_PHRASES: &[(&str, &str)] = &[
    ("厂家直销", "공장 직판"),
    ("品质保证", "품질 보증"),
    ("七天无理由退换", "7일 무조건 교환 및 반품"),
    ("现货速发", "재고 보유 빠른 발송"),
    ("细节展示", "상세 이미지"),
    ("产品参数", "제품 사양"),
    ("多色可选", "다양한 색상 선택 가능"),
    ("精选材料", "엄선한 소재"),
    ("做工精细", "꼼꼼한 마감"),
    ("热销爆款", "인기 판매 상품"),
    ("安全环保", "안전하고 친환경적"),
    ("手工测量存在误差", "손으로 측정하여 오차가 있을 수 있음"),
    ("颜色以实物为准", "색상은 실물을 기준으로 함"),
    ("轻便易携带", "가볍고 휴대가 간편함"),
];

/// Korean lines, for the pictures that a Korean seller has already translated.
pub const KOREAN_LINES: &[&str] = &[
    "국내 당일 발송 상품입니다",
    "모니터에 따라 색상이 다르게 보일 수 있습니다",
    "세탁 전 주의 사항을 확인해 주세요",
    "교환 및 반품은 7일 이내 가능합니다",
];

/// Every shelf of the mall.
pub const CATEGORIES: &[Category] = &[
    Category {
        key: "bag",
        cid: "50000001",
        name: "가방",
        nouns: &["백팩", "토트백", "크로스백"],
        materials: &["나일론", "캔버스", "인조가죽", "폴리에스터", "옥스퍼드"],
        adjectives: &["경량", "대용량", "생활방수", "미니멀", "데일리", "통학용"],
        sizes: &["15L", "20L", "25L", "14인치", "15.6인치"],
        price: (12_900, 59_900),
        phrases: &[
            ("防水面料", "방수 원단"),
            ("大容量收纳", "대용량 수납"),
            ("减压肩带", "하중을 줄이는 어깨끈"),
            ("防盗拉链", "도난 방지 지퍼"),
        ],
    },
    Category {
        key: "women",
        cid: "50000000",
        name: "여성의류",
        nouns: &["원피스", "블라우스", "가디건"],
        materials: &["린넨", "쉬폰", "니트", "코튼", "레이온"],
        adjectives: &["롱", "루즈핏", "하객룩", "봄신상", "플라워", "오피스룩"],
        sizes: &["S", "M", "L", "프리사이즈", "빅사이즈"],
        price: (15_900, 69_000),
        phrases: &[
            ("修身显瘦", "날씬해 보이는 핏"),
            ("透气面料", "통기성 좋은 원단"),
            ("春季新款", "봄 신상품"),
            ("不易起皱", "구김이 잘 가지 않음"),
        ],
    },
    Category {
        key: "men",
        cid: "50000000",
        name: "남성의류",
        nouns: &["셔츠", "슬랙스", "바람막이"],
        materials: &["옥스포드", "코듀로이", "데님", "스판", "기능성"],
        adjectives: &["오버핏", "슬림핏", "무지", "스트라이프", "남성", "커플"],
        sizes: &["M", "L", "XL", "2XL", "105"],
        price: (13_900, 62_000),
        phrases: &[
            ("弹力舒适", "신축성 있고 편안함"),
            ("免烫工艺", "다림질이 필요 없는 가공"),
            ("宽松版型", "넉넉한 핏"),
            ("吸汗速干", "땀을 흡수하고 빨리 마름"),
        ],
    },
    Category {
        key: "beauty",
        cid: "50000002",
        name: "뷰티소품",
        nouns: &["메이크업브러시", "화장거울", "헤어롤"],
        materials: &["인조모", "스테인리스", "원목", "벨벳", "실리콘"],
        adjectives: &["휴대용", "LED", "초미세모", "전문가용", "탁상용", "미니"],
        sizes: &["5종세트", "8종세트", "12종세트", "대형", "소형"],
        price: (4_900, 39_000),
        phrases: &[
            ("柔软不扎脸", "부드럽고 피부에 자극이 없음"),
            ("高清镜面", "고화질 거울면"),
            ("三色补光", "3색 조명"),
            ("抓粉力强", "파우더가 잘 묻음"),
        ],
    },
    Category {
        key: "digital",
        cid: "50000003",
        name: "디지털",
        nouns: &["무선이어폰", "보조배터리", "충전케이블"],
        materials: &["알루미늄", "ABS", "카본", "메탈", "강화유리"],
        adjectives: &[
            "노이즈캔슬링",
            "고속충전",
            "초경량",
            "방수",
            "게이밍",
            "맥세이프",
        ],
        sizes: &["10000mAh", "20000mAh", "1m", "2m", "프로"],
        price: (7_900, 89_000),
        phrases: &[
            ("超长续航", "매우 긴 사용 시간"),
            ("快速充电", "고속 충전"),
            ("主动降噪", "액티브 노이즈 캔슬링"),
            ("蓝牙连接稳定", "안정적인 블루투스 연결"),
        ],
    },
    Category {
        key: "furniture",
        cid: "50000004",
        name: "가구",
        nouns: &["수납장", "접이식책상", "사이드테이블"],
        materials: &["원목", "철제", "대나무", "MDF", "아크릴"],
        adjectives: &["북유럽풍", "틈새", "이동식", "다용도", "높이조절", "모던"],
        sizes: &["3단", "4단", "5단", "600폭", "800폭"],
        price: (19_900, 159_000),
        phrases: &[
            ("承重力强", "튼튼한 하중 지지"),
            ("环保板材", "친환경 판재"),
            ("简易安装", "간편한 조립"),
            ("万向静音轮", "조용한 회전 바퀴"),
        ],
    },
    Category {
        key: "baby",
        cid: "50000005",
        name: "출산육아",
        nouns: &["유아식판", "아기담요", "놀이매트"],
        materials: &["실리콘", "밤부", "오가닉코튼", "트라이탄", "모슬린"],
        adjectives: &["흡착", "안심", "신생아", "물세척", "귀여운", "사계절"],
        sizes: &["소형", "중형", "대형", "3종세트", "120cm"],
        price: (6_900, 54_000),
        phrases: &[
            ("食品级硅胶", "식품용 실리콘"),
            ("亲肤柔软", "피부에 부드러움"),
            ("不含双酚A", "비스페놀A 무첨가"),
            ("防滑吸盘", "미끄럼 방지 흡착판"),
        ],
    },
    Category {
        key: "food",
        cid: "50000006",
        name: "식품용기",
        nouns: &["밀폐용기", "도시락통", "텀블러"],
        materials: &["스테인리스", "내열유리", "트라이탄", "실리콘", "세라믹"],
        adjectives: &[
            "보온",
            "냉동실",
            "전자레인지",
            "직장인",
            "누수방지",
            "칸막이",
        ],
        sizes: &["350ml", "500ml", "1L", "2단", "6종세트"],
        price: (5_900, 42_000),
        phrases: &[
            ("密封防漏", "밀폐되어 새지 않음"),
            ("长效保温", "오래가는 보온"),
            ("可微波加热", "전자레인지 사용 가능"),
            ("分格设计", "칸이 나뉜 구조"),
        ],
    },
    Category {
        key: "sports",
        cid: "50000007",
        name: "스포츠레저",
        nouns: &["요가매트", "캠핑의자", "등산스틱"],
        materials: &["TPE", "NBR", "알루미늄", "카본", "옥스퍼드"],
        adjectives: &[
            "미끄럼방지",
            "접이식",
            "초경량",
            "층간소음",
            "휴대용",
            "두꺼운",
        ],
        sizes: &["6mm", "10mm", "15mm", "2개세트", "와이드"],
        price: (8_900, 79_000),
        phrases: &[
            ("防滑耐磨", "미끄럼 방지와 내마모성"),
            ("加厚缓冲", "두꺼운 쿠션"),
            ("折叠收纳", "접어서 보관"),
            ("高强度铝合金", "고강도 알루미늄 합금"),
        ],
    },
    Category {
        key: "living",
        cid: "50000008",
        name: "생활용품",
        nouns: &["욕실매트", "호텔수건", "빨래바구니"],
        materials: &["규조토", "극세사", "순면", "라탄", "PVC"],
        adjectives: &["빠른건조", "도톰한", "접이식", "대형", "무형광", "북유럽풍"],
        sizes: &["40x60", "50x80", "5장세트", "10장세트", "특대형"],
        price: (5_900, 36_000),
        phrases: &[
            ("快速吸水", "빠른 물 흡수"),
            ("不易掉毛", "털 빠짐이 적음"),
            ("可折叠收纳", "접어서 보관 가능"),
            ("柔软亲肤", "부드럽고 순한 촉감"),
        ],
    },
    Category {
        key: "kitchen",
        cid: "50000008",
        name: "주방용품",
        nouns: &["프라이팬", "원목도마", "주방칼"],
        materials: &["인덕션", "티타늄", "편백나무", "스테인리스", "세라믹코팅"],
        adjectives: &["논스틱", "항균", "업소용", "손잡이분리", "대형", "캠핑용"],
        sizes: &["20cm", "24cm", "28cm", "3종세트", "특대"],
        price: (9_900, 68_000),
        phrases: &[
            ("不粘涂层", "눌어붙지 않는 코팅"),
            ("受热均匀", "고른 열전달"),
            ("抗菌防霉", "항균 및 곰팡이 방지"),
            ("锋利耐用", "날카롭고 오래감"),
        ],
    },
    Category {
        key: "pet",
        cid: "50000008",
        name: "반려동물",
        nouns: &["강아지하우스", "고양이스크래처", "펫급수기"],
        materials: &["극세사", "골판지", "원목", "스테인리스", "면로프"],
        adjectives: &["포근한", "숨숨집", "무소음", "대형견", "자동", "분리세탁"],
        sizes: &["S", "M", "L", "2.5L", "3단"],
        price: (7_900, 64_000),
        phrases: &[
            ("可拆洗", "분리하여 세탁 가능"),
            ("静音水泵", "저소음 펌프"),
            ("耐抓耐咬", "긁힘과 물어뜯음에 강함"),
            ("保暖舒适", "따뜻하고 편안함"),
        ],
    },
    Category {
        key: "leisure",
        cid: "50000009",
        name: "여가생활",
        nouns: &["여행파우치", "차량용거치대", "목베개"],
        materials: &["나일론", "메모리폼", "메쉬", "ABS", "벨벳"],
        adjectives: &["압축", "자동센서", "휴대용", "기내용", "회전형", "흡착식"],
        sizes: &["6종세트", "7종세트", "대형", "원터치", "15W"],
        price: (5_900, 38_000),
        phrases: &[
            ("旅行必备", "여행 필수품"),
            ("慢回弹记忆棉", "천천히 복원되는 메모리폼"),
            ("稳固不晃动", "흔들리지 않는 고정"),
            ("一键操作", "버튼 하나로 조작"),
        ],
    },
    Category {
        key: "dutyfree",
        cid: "50000010",
        name: "패션소품",
        nouns: &["선글라스", "카드지갑", "자동벨트"],
        materials: &["소가죽", "티타늄", "아세테이트", "사피아노", "카본"],
        adjectives: &["편광", "클래식", "남녀공용", "슬림", "정장", "선물용"],
        sizes: &["3.5cm", "중형", "대형", "12포켓", "선물세트"],
        price: (8_900, 92_000),
        phrases: &[
            ("偏光镜片", "편광 렌즈"),
            ("头层牛皮", "최상급 소가죽"),
            ("防刷芯片", "카드 정보 보호"),
            ("送礼佳品", "선물하기 좋은 상품"),
        ],
    },
    Category {
        key: "stationery",
        cid: "50005542",
        name: "문구",
        nouns: &["다이어리", "독서대", "필통"],
        materials: &["원목", "패브릭", "메탈", "크라프트", "인조가죽"],
        adjectives: &["만년", "각도조절", "대용량", "학생용", "빈티지", "심플"],
        sizes: &["A5", "A6", "2단", "3칸", "대형"],
        price: (3_900, 29_000),
        phrases: &[
            ("纸张厚实不透墨", "두꺼워서 비치지 않는 종이"),
            ("多角度调节", "여러 각도 조절"),
            ("分层收纳", "층별 수납"),
            ("学生办公通用", "학생과 사무용 겸용"),
        ],
    },
];

/// The shelf of the products that are broken on purpose; it has one keyword, `재고정리`.
pub const CLEARANCE: Category = Category {
    key: "clearance",
    cid: "50000009",
    name: "재고정리",
    nouns: &["재고정리"],
    materials: &["혼합소재"],
    adjectives: &["특가"],
    sizes: &["단품"],
    price: (990, 9_900),
    phrases: &[("清仓处理", "재고 정리")],
};
